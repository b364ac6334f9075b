"""`resnet-deploy import`: weights trained elsewhere become a checkpoint."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table

_TRIPLE = tuple[float, float, float]


def command(
    file: Annotated[Path, typer.Argument(help="State dict: .pth, .th, .pt or .safetensors. Its code is never run.")],
    net: NET = None,
    depth: DEPTH = None,
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes to insist on.", min=1)] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Text file with one class name on each line, in label order.")
    ] = None,
    mean: Annotated[
        _TRIPLE | None, typer.Option("--mean", help="R G B mean used in training, in units of pixel / 255.")
    ] = None,
    std: Annotated[
        _TRIPLE | None, typer.Option("--std", help="R G B standard deviation, in units of pixel / 255.")
    ] = None,
    license: Annotated[str, typer.Option("--license", help="Licence and origin of the weights, kept on record.")] = "",
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Turn torchvision-style or CIFAR weights (.pth, .th, .safetensors) into a checkpoint of a known net.

    Without --net or --depth the net is recognised by the names and shapes of its tensors.
    """
    from resnet_deploy.cli.options import chosen_net
    from resnet_deploy.export.foreign import ImportOptions, import_weights, read_labels

    name = chosen_net(net, depth).name if net or depth else None
    options = ImportOptions(
        file=file,
        out=out or Path("out") / f"{file.stem}.safetensors",
        net=name,
        num_classes=classes,
        labels=read_labels(labels) if labels else None,
        mean=mean,
        std=std,
        license=license,
        force=force,
    )
    with ProgressBar() as progress:
        result = import_weights(options, progress=progress)
    if json:
        print_json(result)
        return
    named = "recognised by keys and shapes" if result.recognised else "named"
    shown = ", ".join(result.labels[:3]) + (", ..." if len(result.labels) > 3 else "")
    rows = [
        ("net", f"{result.net} ({named})"),
        ("classes", f"{result.num_classes} ({shown})"),
        ("parameters", f"{result.num_parameters:,} in {result.num_tensors} tensors"),
        ("renamed keys", "; ".join(f"{rule}: {count}" for rule, count in result.renamed.items()) or "none"),
        ("source", f"{result.source}, sha256 {result.source_sha256[:16]}..."),
        ("checkpoint", f"{result.file}" + (" (up to date, not written again)" if result.skipped else "")),
    ]
    print_data(table("Import", ("", "value"), rows, left=2))
    note(f"next: resnet-deploy evaluate {result.file} --data FOLDER proves labels and preprocessing")
