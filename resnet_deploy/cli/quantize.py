"""`resnet-deploy quantize`: explicit INT8."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import FORCE, JSON, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote.")],
    calibration: Annotated[
        Optional[Path], typer.Option("--table", help="Calibration table; without it, the one beside the ONNX file.")
    ] = None,
    float_precision: Annotated[str, typer.Option("--float", help="What is not int8 runs in fp16 or fp32.")] = "fp16",
    exclude: Annotated[
        Optional[list[str]], typer.Option("--exclude", help="Name of a node that stays in floating point; repeatable.")
    ] = None,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Write the INT8 form of a network: explicit Q/DQ pairs where TensorRT fuses them, int8 weights."""
    if float_precision not in (Precision.FP16.value, Precision.FP32.value):
        raise ConfigError(f"--float is {float_precision!r}, expected fp16 or fp32")
    from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx

    with ProgressBar() as progress:
        result = quantize_onnx(
            QuantizeOptions(
                onnx=onnx,
                table=calibration,
                float_precision=Precision(float_precision),
                exclude=tuple(exclude or ()),
                out=out,
                force=force,
            ),
            progress,
        )
    for refusal in result.refusals:
        note(f"{refusal.node} stays in {result.float_precision}: {refusal.reason}")
    if json:
        print_json(result)
        return
    columns = ("file", "method", "float", "int8 layers", "Q/DQ pairs", "MiB", "seconds")
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
