"""`resnet-deploy ranges`: overflow and underflow, found before a conversion."""

from __future__ import annotations

__all__ = ["command"]

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_deploy.cli.options import BATCH, JSON, SKIP_BAD, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode
from resnet_deploy.core.specs import Precision

if TYPE_CHECKING:
    from resnet_deploy.quant.ranges import Forecast, RangesResult

_SHOWN = 5


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote.")],
    data: Annotated[
        str,
        typer.Option("--data", help="Images like those the network will see; what `calibrate --data` takes."),
    ],
    precision: Annotated[
        str, typer.Option("--precision", help="Any of fp16, bf16, fp8 and int8, with commas between.")
    ] = "fp16,bf16,fp8,int8",
    max_lost: Annotated[
        float,
        typer.Option("--max-lost", help="Percent of a tensor's values that may be too small for it.", min=0, max=100),
    ] = 1.0,
    split: Annotated[str, typer.Option("--split", help="Part of --data.")] = "train",
    images: Annotated[int, typer.Option("--images", help="At most so many, spread over the classes.", min=1)] = 128,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    skip_bad: SKIP_BAD = 0,
    batch: BATCH = 1,
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Name the tensors whose values a precision can not hold; converts nothing.

    Exit code 1 where a precision would overflow, on these images or in a weight.
    """
    precisions = _precisions(precision)
    from resnet_deploy.quant.ranges import RangesOptions, find_ranges
    from resnet_deploy.quant.sample import SampleOptions

    sample = SampleOptions(
        onnx=onnx,
        data=data,
        split=split,
        num_images=images,
        seed=seed,
        skip_bad=skip_bad,
        num_threads=threads,
        batch=batch,
    )
    options = RangesOptions(sample=sample, precisions=precisions, max_lost=max_lost / 100)
    with ProgressBar() as progress:
        result = find_ranges(options, progress)
    for bad in result.bad_images:
        note(f"left out: {bad}")
    if json:
        print_json(result)
    else:
        _show(result)
    failed = [str(forecast.precision) for forecast in result.forecasts if not forecast]
    if failed:
        note(f"{onnx} overflows in {' and '.join(failed)}")
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _precisions(text: str) -> tuple[Precision, ...]:
    known = {str(p): p for p in (Precision.FP16, Precision.BF16, Precision.FP8, Precision.INT8)}
    asked = [part.strip().lower() for part in text.split(",")]
    if wrong := [part for part in asked if part not in known]:
        raise ConfigError(f"--precision has {wrong[0]!r}, expected any of {', '.join(known)}")
    return tuple(known[part] for part in dict.fromkeys(asked))


def _show(result: RangesResult) -> None:
    columns = ("precision", "", "largest", "at", "headroom", "too small", "at")
    title = f"Ranges of {result.num_tensors} tensors, {result.images}"
    print_data(table(title, columns, (_row(forecast) for forecast in result.forecasts), left=2))
    rows = [
        (forecast.precision, finding.kind, finding.tensor, finding.figures, finding.remedy)
        for forecast in result.forecasts
        for finding in forecast.findings[:_SHOWN]
    ]
    if rows:
        print_data(table("Findings", ("precision", "what", "tensor", "figures", "remedy"), rows, left=5))
    for forecast in result.forecasts:
        if (more := len(forecast.findings) - _SHOWN) > 0:
            note(f"{forecast.precision}: {more} more findings further down the network, listed by --json")


def _row(forecast: Forecast) -> tuple:
    largest, lost = forecast.largest, forecast.most_lost
    return (
        forecast.precision,
        "fits" if forecast else "OVERFLOWS",
        f"{largest.largest:.4g}",
        largest.tensor,
        f"{largest.headroom:.3g}",
        f"{100 * lost.share_coarse:.2g} %, error {_decibels(lost.error_energy)}",
        lost.tensor,
    )


def _decibels(energy: float) -> str:
    return f"{10 * math.log10(energy):.0f} dB" if energy > 0 else "none"
