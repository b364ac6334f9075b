"""`resnet-deploy quantize`: explicit INT8 or FP8."""

from __future__ import annotations

__all__ = ["command"]

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.budget import CONFIDENT, COST, IMAGES, MAX_DROP, MIN_AGREEMENT, budget_of, show_budget
from resnet_deploy.cli.options import (
    DATA,
    EXACT_INPUT,
    FORCE,
    JSON,
    LABELS,
    OUT,
    PREPROCESS,
    SPLIT,
    TABLE,
    THREADS,
    chosen_network,
)
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode
from resnet_deploy.core.specs import Precision, UnsignedRelu

if TYPE_CHECKING:
    from resnet_deploy.quant.refine import RefinementGain
    from resnet_deploy.quant.unsigned import UnsignedTensors


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote, or one from elsewhere.")],
    calibration: TABLE = None,
    precision: Annotated[
        str,
        typer.Option("--precision", help="int8; or fp8 (E4M3, for sm89 and newer), which leaves more layers float."),
    ] = "int8",
    float_precision: Annotated[
        str, typer.Option("--float", help="What is not quantised runs in fp16, bf16 or fp32.")
    ] = "fp16",
    exclude: Annotated[
        Optional[list[str]], typer.Option("--exclude", help="Name of a node that stays in floating point; repeatable.")
    ] = None,
    keep_float: Annotated[
        Optional[list[str]],
        typer.Option("--keep-float", help="Name of a tensor that is never rounded, nor what reads it; repeatable."),
    ] = None,
    exact_input: EXACT_INPUT = True,
    unsigned_relu: Annotated[
        UnsignedRelu,
        typer.Option(
            "--unsigned-relu",
            help="int8: ReLU outputs as 0..255, twice the steps: off; free, where it costs nothing (no padded "
            "convolution reads it); first, the network's first as well, for a Pad node; or all.",
        ),
    ] = UnsignedRelu.OFF,
    refine: Annotated[
        Optional[str],
        typer.Option(
            "--refine",
            help="After rounding, one or more of equalize (channel sizes and scales, learnt; minutes), bias, rounding: "
            "equalize,bias,rounding. equalize comes first wherever it is typed. Needs --refine-data.",
        ),
    ] = None,
    refine_data: Annotated[
        Optional[str], typer.Option("--refine-data", help="Images to refine on: those of calibration.")
    ] = None,
    refine_split: Annotated[str, typer.Option("--refine-split", help="Which part of --refine-data.")] = "train",
    refine_images: Annotated[
        int, typer.Option("--refine-images", help="How many to refine on, at most; of large images fewer.", min=2)
    ] = 1024,
    max_drop: MAX_DROP = None,
    min_agreement: MIN_AGREEMENT = None,
    confident: CONFIDENT = False,
    data: DATA = None,
    split: SPLIT = None,
    images: IMAGES = 0,
    cost: COST = None,
    preprocess: PREPROCESS = None,
    labels: LABELS = None,
    threads: THREADS = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Write the INT8 or FP8 form of a network: explicit Q/DQ pairs where TensorRT fuses them, quantised weights."""
    if precision not in (Precision.INT8.value, Precision.FP8.value):
        raise ConfigError(
            f"--precision is {precision!r}, expected int8 or fp8",
            remedy="fp16 and bf16 files are made by `resnet-deploy export --precision`",
        )

    if float_precision not in (Precision.FP16.value, Precision.BF16.value, Precision.FP32.value):
        raise ConfigError(f"--float is {float_precision!r}, expected fp16, bf16 or fp32")
    budget = budget_of(
        max_drop=max_drop,
        min_agreement=min_agreement,
        confident=confident,
        data=data,
        split=split,
        images=images,
        cost=cost,
        threads=threads,
    )
    if (refine is None) != (refine_data is None):
        raise ConfigError(
            "--refine and --refine-data belong together",
            remedy="--refine bias --refine-data FOLDER, say, or neither of them",
        )
    from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
    from resnet_deploy.quant.refine import RefineOptions

    options = QuantizeOptions(
        onnx=onnx,
        table=calibration,
        precision=Precision(precision),
        float_precision=Precision(float_precision),
        exclude=tuple(exclude or ()),
        keep_float=tuple(keep_float or ()),
        exact_input=exact_input,
        unsigned_relu=unsigned_relu,
        refine=None
        if refine is None
        else RefineOptions(
            refinements=tuple(name.strip() for name in refine.split(",")),
            data=refine_data,
            split=refine_split,
            num_images=refine_images,
        ),
        out=out,
        force=force,
    )
    outcome = None
    with ProgressBar() as progress:
        chosen = chosen_network(options.onnx, preprocess=preprocess, labels=labels, progress=progress)
        options = replace(options, onnx=chosen)
        if budget is None:
            result = quantize_onnx(options, progress)
        else:
            from resnet_deploy.quant.budget import quantize_within_budget

            result, outcome = quantize_within_budget(options, budget, progress)
    for refusal in result.refusals:
        note(f"{refusal.node} stays in {result.float_precision}: {refusal.reason}")
    if exact_input and options.precision is Precision.INT8 and result.exact_input != "exact":
        note(f"the image is rounded as any other tensor: {result.exact_input}")
    _show_unsigned(result.unsigned)
    for warning in result.warnings:
        note(f"warning: {warning}")
    note(result.audit)
    _show_gains(result.gains)
    failed = ExitCode.CHECK_FAILED if outcome is not None and not outcome.met else ExitCode.DONE
    if json:
        print_json(result if outcome is None else {"quantized": result, "budget": outcome})
        raise typer.Exit(failed)
    columns = ("file", "method", "float", f"{result.precision} layers", "Q/DQ pairs", "MiB", "seconds")
    cells = (
        result.file,
        result.method,
        result.float_precision,
        result.num_layers,
        result.num_pairs,
        f"{result.size_bytes / 2**20:.1f}",
        "up to date" if result.skipped else f"{result.seconds:.1f}",
    )
    print_data(table("Quantisation", columns, [cells], left=3))
    if outcome is not None:
        show_budget(outcome)
    raise typer.Exit(failed)


def _show_unsigned(unsigned: UnsignedTensors) -> None:
    if not unsigned.tensors and not unsigned.refusals:
        return
    reasons = Counter(re.sub(r" '[^']*'", "", refusal.reason) for refusal in unsigned.refusals)  # kinds, not names
    signed = "".join(f"; {number} stay signed: {reason}" for reason, number in reasons.most_common())
    note(f"{len(unsigned.tensors)} ReLU outputs are unsigned, with {unsigned.num_pads} Pad nodes{signed}")


def _show_gains(gains: tuple[RefinementGain, ...]) -> None:
    for gain in gains:
        score = gain.score
        ratio = "exact" if score.sqnr_db is None else f"{score.sqnr_db:.1f} dB"
        seen = "" if gain.is_held_out else " that it was refined on"
        note(f"{gain.step}: agreement {score.agreement:.2%}, SQNR {ratio} on {score.num_images} images{seen}")
