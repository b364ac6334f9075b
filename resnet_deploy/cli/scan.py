"""`resnet-deploy scan`: outliers before quantisation."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import DATA, JSON, SKIP_BAD, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote.")],
    data: DATA = None,
    split: Annotated[str, typer.Option("--split", help="Which part of --data: train, val or test.")] = "train",
    images: Annotated[int, typer.Option("--images", help="At most so many, spread over the classes.", min=1)] = 64,
    skip_bad: SKIP_BAD = 0,
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Look for outliers in weights and, with --data, in activations, and say what to do about them; writes nothing."""
    if data is None and skip_bad:
        raise ConfigError("--skip-bad is about images, and none were named", remedy="add --data FOLDER")
    from resnet_deploy.quant.prescan import PrescanOptions, prescan
    from resnet_deploy.quant.sample import SampleOptions

    sample = None
    if data is not None:
        sample = SampleOptions(
            onnx=onnx, data=data, split=split, num_images=images, skip_bad=skip_bad, num_threads=threads
        )
    with ProgressBar() as progress:
        result = prescan(PrescanOptions(onnx=onnx, sample=sample), progress)
    for bad in result.bad_images:
        note(f"left out: {bad}")
    if json:
        print_json(result)
        return
    rows = [
        (
            w.node,
            w.num_channels,
            f"{w.worst_peak:.1f}",
            f"{w.channel_spread:.1f}",
            w.num_zero_channels,
            f"{100 * w.share_to_zero:.1f}",
            _decibels(w.sqnr_db),
        )
        for w in result.weights
    ]
    columns = ("layer", "channels", "worst max/rms", "channel spread", "zero channels", "to zero %", "SQNR dB")
    print_data(table("Weights, int8 with a scale per output channel", columns, rows))
    if result.activations:
        rows = [
            (
                a.tensor,
                f"{a.largest:.3g}",
                f"{a.outlier_ratio:.1f}",
                *map(_decibels, (a.sqnr_max_db, a.sqnr_percentile_db, a.sqnr_entropy_db, a.sqnr_mse_db)),
                f"{a.channel_spread:.1f}",
                f"{a.num_dead_channels} of {a.num_channels}",
            )
            for a in result.activations
        ]
        columns = (
            "tensor",
            "max",
            "max/p99.99",
            "dB: max",
            "p99.99",
            "entropy",
            "mse",
            "channel spread",
            "dead channels",
        )
        print_data(table(f"Activations, int8 with one scale, {result.num_images} images", columns, rows))
    else:
        note("weights only; give --data for the activations, whose rounding usually counts more")
    if not result.advice:
        print_data("No outliers beyond the thresholds: the defaults of `calibrate` and `quantize` will do.")
    for advice in result.advice:
        print_data(f"{advice.where}: {advice.text}", f"    {advice.figures}")


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
