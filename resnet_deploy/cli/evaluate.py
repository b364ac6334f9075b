"""`resnet-deploy evaluate`: top-1 and top-5 of one file on a data set."""

from __future__ import annotations

__all__ = ["command"]

from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import BATCH, DATA, JSON, SPLIT, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table


def command(
    file: Annotated[str, typer.Argument(metavar="[BACKEND:]FILE", help="Checkpoint, ONNX file or engine.")],
    data: DATA = None,
    split: SPLIT = None,
    images: Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)] = 0,
    batch: BATCH = 64,
    preprocess: Annotated[
        Optional[str],
        typer.Option("--preprocess", help="imagenet, cifar, digits or FILE.json; for a file without a manifest."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show every class.")] = False,
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Measure the top-1 and top-5 of a file on labelled images, with its 95 % interval."""
    from resnet_deploy.core.errors import ConfigError
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.verify.accuracy import EvaluateOptions, evaluate

    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    backend, path = parse_runner(file)
    options = EvaluateOptions(
        file=path,
        backend=backend,
        data=data,
        split=split,
        batch_size=batch,
        num_images=images,
        preprocess=preprocess,
        num_threads=threads,
    )
    with ProgressBar() as progress:
        result = evaluate(options, progress)
    if result.note:
        note(result.note)
    if json:
        print_json(result)
        return
    rows = [
        ("file", result.file),
        ("backend", f"{result.backend} on {result.device}"),
        ("images", f"{result.num_images} ({result.data})"),
        ("top-1", f"{result.top1_percent:.2f} % (95 %: {result.top1_low:.2f} .. {result.top1_high:.2f})"),
        ("top-5", "-" if result.top5_percent is None else f"{result.top5_percent:.2f} %"),
        ("images with NaN or infinity", result.num_nonfinite_rows),
        ("images/s (no benchmark)", f"{result.images_per_second:.1f}"),
    ]
    print_data(table("Accuracy", ("", ""), rows, left=2))
    if per_class:
        cells = [
            (c.name, c.num_images, f"{100 * c.num_hits / c.num_images:.2f}" if c.num_images else "-")
            for c in result.per_class
        ]
        print_data(table("By class", ("class", "images", "top-1 %"), cells))
