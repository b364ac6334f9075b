"""`resnet-deploy train --qat`: an INT8 file goes on learning."""

from __future__ import annotations

__all__ = [
    "COMPARE_FP32",
    "DISTILL",
    "FROM",
    "IMAGES",
    "LEARN_SCALES",
    "QAT",
    "quantized_out",
    "quantized_start",
    "show",
]

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError

QAT = Annotated[
    Optional[Path],
    typer.Option("--qat", help="INT8 ONNX file to train with its rounding in place."),
]
FROM = Annotated[
    Optional[Path],
    typer.Option("--from", help="With --qat: the FP32 file it was made from, if that was moved."),
]
LEARN_SCALES = Annotated[
    bool, typer.Option("--learn-scales", help="With --qat: train the scales of the activations too.")
]
DISTILL = Annotated[
    bool, typer.Option("--distill", help="With --qat: learn the FP32 network's answers; labels are not read.")
]
IMAGES = Annotated[
    int, typer.Option("--images", help="With --qat: learn from a sample of that many; 0 takes all.", min=0)
]
COMPARE_FP32 = Annotated[
    bool, typer.Option("--compare-fp32", help="With --qat: train the FP32 network as long, and show both.")
]


def quantized_start(
    qat: Path | None,
    fp32: Path | None,
    *,
    learn_scales: bool,
    distill: bool,
    images: int,
    compare_fp32: bool,
    distributed: bool,
) -> Any:
    """The options of `train --qat` as the library takes them; None where there is no --qat.

    Raises:
        ConfigError: One of the others was given without it, or two that do not go together.
    """
    given = {
        "--from": fp32 is not None,
        "--learn-scales": learn_scales,
        "--distill": distill,
        "--images": images > 0,
        "--compare-fp32": compare_fp32,
    }
    if qat is None:
        if alone := [name for name, is_given in given.items() if is_given]:
            raise ConfigError(f"{', '.join(alone)} without --qat", remedy="give --qat NET.int8.onnx")
        return None
    if compare_fp32 and distill:
        raise ConfigError(
            "--compare-fp32 and --distill were both given: the FP32 network has nothing to learn from its own answers",
            remedy="leave one of them away",
        )
    if compare_fp32 and distributed:
        raise ConfigError(
            "--compare-fp32 trains two networks, which a job of several processes does not do",
            remedy="run it in one process, or leave --compare-fp32 away",
        )
    from resnet_deploy.train.options import QuantizedStart

    return QuantizedStart(int8=qat, fp32=fp32, learn_scales=learn_scales, distill=distill, num_images=images)


def quantized_out(int8: Path) -> Path:
    """`a.int8.onnx` -> `a.qat.int8.onnx` beside it."""
    return int8.with_name(f"{int8.name.removesuffix('.onnx').removesuffix('.int8')}.qat.int8.onnx")


def show(result: Any, *, json: bool) -> None:
    """Print what came of it."""
    training = result.training
    for image in training.bad_images:
        note(f"left out: {image}")
    if result.note:
        note(result.note)
    if json:
        print_json(result)
        return
    rows = [
        (
            score.name,
            score.file,
            *("-" if value is None else f"{value:{form}}" for value, form in _values(score)),
        )
        for score in result.scores
    ]
    if rows:
        columns = ("", "file", "top-1 %", "drop", "agreement", "SQNR dB")
        print_data(table(f"{result.num_images} held-out images, ONNX Runtime", columns, rows, left=2))
    resumed = f", resumed after step {training.resumed_from_step}" if training.resumed_from_step else ""
    for one in filter(None, (training, result.float_training)):
        state = "up to date, not trained again" if one.skipped else f"{one.seconds:.1f} s on {one.device}{resumed}"
        print_data(f"{one.file}: recipe {one.recipe}, {one.steps} steps, {one.epochs:.4g} epochs, {state}")
    note(f"next: resnet-deploy build {training.file}")


def _values(score: Any) -> tuple[tuple[float | None, str], ...]:
    return (
        (score.top1_percent, ".2f"),
        (score.top1_drop, "+.2f"),
        (score.agreement, ".4f"),
        (score.sqnr_db, ".1f"),
    )
