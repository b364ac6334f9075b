"""`resnet-deploy export`: PyTorch to ONNX."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT, chosen_net
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision


def command(
    checkpoint: Annotated[
        Optional[Path], typer.Argument(help="Checkpoint to export; without it, out/<net>.safetensors.")
    ] = None,
    net: NET = None,
    depth: DEPTH = None,
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, fp16, or both: fp32,fp16 (fp16 always keeps fp32 beside it).")
    ] = "fp32",
    out: OUT = None,
    seed: Annotated[int, typer.Option("--seed", help="Of an untrained network's weights.", min=0)] = 0,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Write a network as ONNX: batch norm folded, any batch size, checked against PyTorch.

    Without a checkpoint, `--depth` and `--net` take `out/<net>.safetensors` if it is there; else the network
    is untrained, which is good for measuring latency and nothing else.
    """
    precisions = _precisions(precision)
    if out is not None and len(precisions) > 1:
        raise ConfigError(
            f"--out {out} names one file, --precision {precision} makes {len(precisions)}",
            remedy="leave --out away, or export one precision at a time",
        )
    name = None
    if checkpoint is None:
        name = chosen_net(net, depth).name
        usual = Path("out") / f"{name}.safetensors"
        if usual.is_file():
            checkpoint, name = usual, None
            note(f"exporting {usual}")
        else:
            note(f"{usual} is not there: exporting random weights, good for measuring latency only")
    elif net is not None or depth is not None:
        raise ConfigError(
            f"{checkpoint} says itself which network it is, --net and --depth are for exports without a checkpoint",
            remedy="leave --net and --depth away",
        )
    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

    with ProgressBar() as progress:
        results = [
            export_onnx(
                ExportOptions(checkpoint=checkpoint, net=name, precision=p, out=out, seed=seed, force=force), progress
            )
            for p in precisions
        ]
    if json:
        print_json(results)
        return
    columns = ("file", "net", "weights", "precision", "nodes", "MiB", "error vs reference", "tolerance", "seconds")
    print_data(table("Export", columns, (_cells(result) for result in results), left=4))


def _precisions(text: str) -> list[Precision]:
    known = [Precision.FP32, Precision.FP16]
    try:
        asked = {Precision(part.strip().lower()) for part in text.split(",")}
    except ValueError:
        asked = set()
    if not asked or asked - set(known):
        raise ConfigError(
            f"--precision is {text!r}, expected fp32, fp16 or fp32,fp16",
            remedy="int8 is made by `resnet-deploy calibrate` and `resnet-deploy quantize`",
        )
    return [p for p in known if p in asked]


def _cells(result) -> tuple:
    return (
        result.file,
        result.net,
        result.weights,
        result.precision,
        result.num_nodes,
        f"{result.size_bytes / 2**20:.1f}",
        f"{result.parity.relative_error:.2g}",
        f"{result.parity.tolerance:.2g}",
        "up to date" if result.skipped else f"{result.seconds:.1f}",
    )
