"""`resnet-deploy calibrate`: activation ranges for INT8."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import FORCE, JSON, OUT, SKIP_BAD, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Folder or .tar with one subfolder per class, CIFAR binary files, WebDataset shards, `digits` "
            "(bundled), or `noise` (latency only).",
        ),
    ],
    split: Annotated[
        str, typer.Option("--split", help="Part of --data; never calibrate on what you evaluate on.")
    ] = "train",
    images: Annotated[int, typer.Option("--images", help="At most so many, spread over the classes.", min=1)] = 512,
    method: Annotated[str, typer.Option("--method", help="entropy, max or mse.")] = "entropy",
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    out: OUT = None,
    skip_bad: SKIP_BAD = 0,
    threads: THREADS = 0,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Find the range of every activation that INT8 needs; writes a calibration table.

    The table holds the same bytes for the same network, images and method, whatever the number of threads.
    """
    from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate

    with ProgressBar() as progress:
        result = calibrate(
            CalibrateOptions(
                onnx=onnx,
                data=data,
                split=split,
                num_images=images,
                method=method,
                seed=seed,
                skip_bad=skip_bad,
                out=out,
                num_threads=threads,
                force=force,
            ),
            progress,
        )
    if result.num_duplicates or result.num_constant:
        note(
            f"of {result.num_images} images, {result.num_duplicates} are repeats and {result.num_constant} of one colour"
        )
    for bad in result.bad_images:
        note(f"left out: {bad}")
    for tensor, text in result.notes.items():
        note(f"{tensor}: {text}")
    if json:
        print_json(result)
        return
    columns = ("table", "method", "images", "distinct", "tensors", "seconds")
    seconds = "up to date" if result.skipped else f"{result.seconds:.1f}"
    cells = (result.file, result.method, result.images, result.num_distinct, result.num_tensors, seconds)
    print_data(table("Calibration", columns, [cells], left=3))
