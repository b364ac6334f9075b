"""Writes a placement into a graph: Q/DQ pairs, int8 or FP8 weights, nothing else moved."""

from __future__ import annotations

__all__ = ["QuantizedTensor", "insert_qdq", "quantize_weight", "representable_scale"]

from collections.abc import Collection
from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.quant.grid import INT8_GRID, Grid
from resnet_deploy.quant.placement import Placement
from resnet_deploy.quant.table import CalibrationTable
from resnet_deploy.quant.unsigned import ZERO_POINT

_ZERO_POINT, _LOW_ZERO_POINT = "zero_point", "zero_point.low"
_HALVES = {
    Precision.FP16: (np.float16, 2.0**-24, float(np.finfo(np.float16).max)),
    Precision.BF16: (ml_dtypes.bfloat16, 2.0**-126, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)),
}
"""Type, and the smallest and largest scale that a graph in it may have."""


class QuantizedTensor(NamedTuple):
    """Values as stored (int8 or E4M3) and their float32 scales, one per channel."""

    values: np.ndarray
    scales: np.ndarray


def insert_qdq(
    model: onnx.ModelProto,
    placement: Placement,
    table: CalibrationTable,
    *,
    float_precision: Precision,
    grid: Grid = INT8_GRID,
    unsigned: Collection[str] = (),
) -> onnx.ModelProto:
    """A copy of the FP32 `model` with the placement's pairs and quantised weights; its floats are still FP32.

    Scales are values that `float_precision` represents, so a later conversion to it changes none of them.

    Args:
        unsigned: Tensors (`scale_of` of reads) that get amax / 255 as scale and a zero point of -128, see
            `quant.unsigned`; int8 only.

    Raises:
        CalibrationError: The table lacks a tensor, or a weight is not finite.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = {node.name: node for node in result.graph.node}
    pairs: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    result.graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=grid.dtype), _ZERO_POINT))
    if unsigned:
        result.graph.initializer.append(numpy_helper.from_array(np.int8(ZERO_POINT), _LOW_ZERO_POINT))
    for read in placement.reads:
        key = (read.tensor, read.scale_of)
        if key not in pairs:
            entry, is_unsigned = table.entry(read.scale_of), read.scale_of in unsigned
            scale = entry.scale_unsigned if is_unsigned else grid.scale(entry)
            scale = representable_scale(np.float32(scale), float_precision)
            taken = sum(tensor == read.tensor for tensor, _ in pairs)
            base = f"{read.tensor}_{taken}" if taken else read.tensor
            zero_point = _LOW_ZERO_POINT if is_unsigned else _ZERO_POINT
            pairs[key] = _make_pair(result.graph, read.tensor, scale, zero_point, base=base, grid=grid)
        nodes[read.node].input[read.position] = pairs[key][1].output[0]
    weight_nodes = []
    index = GraphIndex(result.graph)
    for use in placement.weights:
        name = use.weight
        weight = index.constant(name)
        quantized = quantize_weight(weight, axis=use.axis, float_precision=float_precision, name=name, grid=grid)
        weight_nodes.append(_replace_weight(result.graph, name, quantized, use.axis, grid))
        nodes[use.node].input[use.position] = weight_nodes[-1].output[0]
    _put_in_order(result.graph, pairs, weight_nodes)
    del result.graph.value_info[:]
    return result


def quantize_weight(
    weight: np.ndarray, *, axis: int, float_precision: Precision, name: str, grid: Grid = INT8_GRID
) -> QuantizedTensor:
    """Quantise a weight, symmetric, one scale per slice along `axis`.

    For int8, q = clip(round_half_even(w / scale), -127, 127), scale = max|w| / 127 rounded up to a value that
    `float_precision` represents: rounding down would clip the channel's largest weight. The quantisation
    uses the rounded scale, so |w - q * scale| <= scale / 2 holds for the scale in the file. For FP8, 448 stands
    in the place of 127, and the error is at most 2^-4 of the weight or 2^-10 scales, whichever is larger.

    Args:
        weight: Any shape, float32, finite.
        name: For the message.
    Returns:
        The grid's type, of the same shape, and float32 scales [K]; an all-zero channel gets scale 1.
    Raises:
        CalibrationError: `weight` holds NaN or infinity; names it and the first bad channel.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise CalibrationError(
            f"initializer {name!r} holds NaN or infinity, first in channel {int(np.argmin(finite))}",
            remedy="take another checkpoint",
        )
    amax = np.abs(rows).max(axis=1)
    scales = np.where(amax > 0, representable_scale(amax / np.float32(grid.largest), float_precision, up=True), 1)
    scales = scales.astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return QuantizedTensor(grid.round(weight / scales.reshape(shape)), scales)


def representable_scale(scale: np.ndarray | np.float32, float_precision: Precision, *, up: bool = False) -> np.ndarray:
    """`scale` as float32, rounded to the nearest (or next larger) value that `float_precision` represents.

    ONNX wants the scale in the type of the tensor (QuantizeLinear-19, DequantizeLinear-19), so an FP16 graph
    has FP16 scales; ONNX Runtime computes with them, TensorRT widens them to FP32 again. Below 2^-14 FP16 is
    denormal and has few bits left; there the grid is coarse but still exact for both, and the smallest
    positive value, 2^-24, stands for all below it: a scale of zero would be refused. BF16 has FP32's range with
    8 bits, so a scale moves by up to 2^-8 of itself.
    """
    if float_precision not in _HALVES:
        return np.maximum(np.float32(scale), np.finfo(np.float32).tiny)
    dtype, smallest, largest = _HALVES[float_precision]
    half = np.asarray(scale).astype(dtype)
    if up:
        half = np.where(np.float32(half) < scale, np.nextafter(half, dtype(np.inf)), half)
    return np.clip(np.float32(half), np.float32(smallest), np.float32(largest))


def _make_pair(
    graph: onnx.GraphProto, tensor: str, scale: np.ndarray, zero_point: str, *, base: str, grid: Grid
) -> list[onnx.NodeProto]:
    stored = f"{base}.{grid.precision}"
    graph.initializer.append(numpy_helper.from_array(np.float32(scale).reshape(()), f"{base}.scale"))
    operands = [f"{base}.scale", zero_point]
    return [
        helper.make_node("QuantizeLinear", [tensor, *operands], [stored], name=f"{base}.quantize"),
        helper.make_node("DequantizeLinear", [stored, *operands], [f"{base}.dq"], name=f"{base}.dequantize"),
    ]


def _replace_weight(
    graph: onnx.GraphProto, name: str, quantized: QuantizedTensor, axis: int, grid: Grid
) -> onnx.NodeProto:
    stored = f"{name}.{grid.precision}"
    initializer = next(tensor for tensor in graph.initializer if tensor.name == name)
    initializer.CopyFrom(numpy_helper.from_array(quantized.values, stored))
    zero_points = np.zeros(len(quantized.scales), dtype=grid.dtype)
    graph.initializer.append(numpy_helper.from_array(quantized.scales, f"{name}.scale"))
    graph.initializer.append(numpy_helper.from_array(zero_points, f"{name}.zero_point"))
    return helper.make_node(
        "DequantizeLinear",
        [stored, f"{name}.scale", f"{name}.zero_point"],
        [f"{name}.dq"],
        name=f"{name}.dequantize",
        axis=axis,
    )


def _put_in_order(
    graph: onnx.GraphProto, pairs: dict[tuple[str, str], list[onnx.NodeProto]], weight_nodes: list[onnx.NodeProto]
) -> None:
    """ONNX wants a node behind those whose results it reads: a pair directly behind its tensor."""
    after: dict[str, list[onnx.NodeProto]] = {}
    for (tensor, _), pair in pairs.items():
        after.setdefault(tensor, []).extend(pair)
    ordered = list(weight_nodes)
    for tensor in graph.input:
        ordered += after.get(tensor.name, [])
    for node in graph.node:
        ordered.append(node)
        for name in node.output:
            ordered += after.get(name, [])
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
