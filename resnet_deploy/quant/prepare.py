"""FP32 graph + scales -> the graph with its pairs, ready for refinement; and from there the graph that is written."""

from __future__ import annotations

__all__ = ["FLOAT_PRECISIONS", "Prepared", "delivered", "prepare"]

from dataclasses import dataclass, replace

import onnx

from resnet_deploy.core.specs import Precision, Preprocess, UnsignedRelu
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.quant.exact_input import PIXEL_SCALE, PIXELS, check_exact_input, with_exact_input
from resnet_deploy.quant.fp8 import FP8_RULES
from resnet_deploy.quant.grid import GRIDS
from resnet_deploy.quant.insertion import insert_qdq
from resnet_deploy.quant.placement import RULES, Placement, Refusal, find_placement
from resnet_deploy.quant.table import CalibrationTable
from resnet_deploy.quant.unsigned import UnsignedTensors, find_unsigned
from resnet_deploy.quant.zero_points import lower_zero_points

_RULES = {Precision.INT8: RULES, Precision.FP8: FP8_RULES}
FLOAT_PRECISIONS = {
    Precision.FP32: lambda model, **_: model,
    Precision.FP16: fp16_from_fp32,
    Precision.BF16: bf16_from_fp32,
}
"""How what is not quantised gets its type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A graph with its pairs and int8 or FP8 weights, all else still FP32.

    Attributes:
        original: The FP32 graph the pairs were put in: the one that was given, but for its input.
        quantized: With zero points of -128 on unsigned tensors; see `delivered`.
        table: With the scale of the pixels, where the input is exact.
        exact_input: "exact", or why the image is rounded as any other tensor.
    """

    original: onnx.ModelProto
    quantized: onnx.ModelProto
    table: CalibrationTable
    placement: Placement
    exact_input: str
    unsigned: UnsignedTensors


def prepare(
    model: onnx.ModelProto,
    table: CalibrationTable,
    *,
    precision: Precision = Precision.INT8,
    float_precision: Precision,
    exclude: tuple[str, ...] = (),
    keep_float: tuple[str, ...] = (),
    preprocess: Preprocess | None = None,
    unsigned_relu: UnsignedRelu = UnsignedRelu.OFF,
) -> Prepared:
    """Everything but refinement and `delivered`.

    Args:
        preprocess: Of the images that will come, for an exact input; None rounds them as any other tensor.
        unsigned_relu: See `quant.quantize.QuantizeOptions`.
    """
    original, table, reason = _with_exact_input(model, table, precision, {*exclude, *keep_float}, preprocess)
    placement = find_placement(original, exclude=exclude, keep_float_tensors=keep_float, rules=_RULES[precision])
    unsigned = find_unsigned(original, placement, unsigned_relu)
    quantized = insert_qdq(
        original,
        placement,
        table,
        float_precision=float_precision,
        grid=GRIDS[precision],
        unsigned=unsigned.tensors,
    )
    return Prepared(
        original=original,
        quantized=quantized,
        table=table,
        placement=placement,
        exact_input=reason,
        unsigned=unsigned,
    )


def delivered(quantized: onnx.ModelProto, float_precision: Precision) -> onnx.ModelProto:
    """The graph that is written: no zero points, and what is not quantised in `float_precision`.

    Args:
        quantized: Of `prepare`, refined or not.
    """
    lowered, shifted = lower_zero_points(quantized)
    return FLOAT_PRECISIONS[float_precision](lowered, wide=shifted)


def _with_exact_input(
    model: onnx.ModelProto,
    table: CalibrationTable,
    precision: Precision,
    floats: set[str],
    preprocess: Preprocess | None,
) -> tuple[onnx.ModelProto, CalibrationTable, str]:
    if preprocess is None or precision is not Precision.INT8:
        return (
            model,
            table,
            "not asked for" if precision is Precision.INT8 else f"{precision} has too few whole numbers",
        )
    found = check_exact_input(model)
    if not isinstance(found, Refusal) and floats.intersection((found.name, found.input[0])):
        return model, table, "the first convolution stays in floating point"
    exact, refusal = with_exact_input(model, preprocess)
    if refusal is not None:
        return model, table, refusal.reason
    return exact, replace(table, tensors={**table.tensors, PIXELS: PIXEL_SCALE}), "exact"
