"""Reads the quantisation of a graph from any tool: which Q/DQ pair a tensor comes through, and what is wrong with it."""

from __future__ import annotations

__all__ = [
    "INTEGER_OPERATORS",
    "QuantizedValue",
    "quantized_activation",
    "quantized_weight",
    "same_grid",
    "value_of",
]

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto

from resnet_deploy.graph.index import GraphIndex, attribute_of

_TENSORRT_TYPES = ("int8", "fp8")
"""Types that TensorRT's convolutions compute with."""


INTEGER_OPERATORS = {
    "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QAttention", "QGemm", "QLinearAdd", "QLinearAveragePool",
    "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul",
}  # fmt: skip
"""Integer operators of ONNX and ONNX Runtime; TensorRT's parser knows none of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedValue:
    """A tensor that is read through a DequantizeLinear.

    Attributes:
        tensor: What was quantised: the float tensor before QuantizeLinear, or the constant.
        quantize, dequantize: Names of the nodes; `quantize` is empty where a stored integer is read.
        dtype: "int8", "uint8", "fp8" (E4M3) ...
        scale: One number, or one for each slice along `axis`; None where it is computed in the graph.
        axis: As read by the consumer, behind any Transpose; None for one scale per tensor.
        faults: Why TensorRT can not take it as it is, one sentence each.
        warnings: What it takes, but most likely not as meant.
    """

    tensor: str
    quantize: str
    dequantize: str
    dtype: str
    scale: np.ndarray | None
    axis: int | None
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def quantized_activation(graph: GraphIndex, tensor: str) -> QuantizedValue | None:
    """The pair that `tensor` comes out of; None where it does not come out of one. Casts are looked through."""
    dequantize = _behind_casts(graph, tensor)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    return value_of(graph, dequantize)


def quantized_weight(graph: GraphIndex, tensor: str) -> tuple[str, QuantizedValue | None]:
    """The constant behind a weight and how it is quantised.

    Looks through Transpose and Cast, and takes both forms: stored int8 with DequantizeLinear, and a float
    constant through a pair.

    Returns:
        The constant's name, "" where the weight is computed; and None where it is float.
    """
    permutations = []
    while (node := graph.producer(tensor, "Transpose", "Cast")) is not None:
        if node.op_type == "Transpose":
            permutations.append(node)
        tensor = node.input[0]
    if graph.is_constant(tensor):
        return tensor, None
    dequantize = graph.producer(tensor, "DequantizeLinear")
    if dequantize is None:
        return "", None
    value = value_of(graph, dequantize)
    if not graph.is_constant(value.tensor):
        return "", None
    axis = value.axis
    for node in reversed(permutations):
        perm = attribute_of(node, "perm", None)
        if axis is not None:
            rank = len(graph.initializer(value.tensor).dims)
            axis = (list(perm) if perm else list(range(rank))[::-1]).index(axis % rank)
    return value.tensor, replace(value, axis=axis)


def value_of(graph: GraphIndex, dequantize: onnx.NodeProto) -> QuantizedValue:
    """Everything that a DequantizeLinear and the QuantizeLinear before it say."""
    quantize = graph.producer(dequantize.input[0], "QuantizeLinear")
    first = quantize or dequantize
    scale = _constant(graph, dequantize, 1)
    dtype, faults, warnings = _type_of(graph, quantize, dequantize)
    faults += _scale_faults(scale)
    zero_point = _constant(graph, dequantize, 2)
    if zero_point is not None and np.any(zero_point.astype(np.float32)):
        shown = "zero points are not all 0" if zero_point.size > 1 else f"zero point is {zero_point.reshape(-1)[0]}"
        faults.append(
            f"the {shown}, TensorRT takes 0 only: calibrate symmetrically (ActivationSymmetric in ONNX Runtime)"
        )
    if quantize is not None and not _same_parameters(graph, quantize, dequantize):
        faults.append(f"{quantize.name} and {dequantize.name} have different scales or zero points")
    per_channel = scale is not None and scale.size > 1
    axis = attribute_of(dequantize, "axis", 1) if per_channel else None
    return QuantizedValue(
        tensor=first.input[0],
        quantize=quantize.name if quantize is not None else "",
        dequantize=dequantize.name,
        dtype=dtype,
        scale=scale,
        axis=axis,
        faults=tuple(faults),
        warnings=tuple(warnings),
    )


def same_grid(one: QuantizedValue, other: QuantizedValue) -> bool:
    """Whether both quantise to the same numbers, so that the second one changes nothing."""
    if one.scale is None or other.scale is None or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(*(value.scale.astype(np.float32).reshape(-1) for value in (one, other))))


def _behind_casts(graph: GraphIndex, tensor: str) -> onnx.NodeProto | None:
    node = graph.producer(tensor)
    while node is not None and node.op_type == "Cast":
        node = graph.producer(node.input[0])
    return node


def _type_of(
    graph: GraphIndex, quantize: onnx.NodeProto | None, dequantize: onnx.NodeProto
) -> tuple[str, list[str], list[str]]:
    faults: list[str] = []
    warnings: list[str] = []
    zero_points = [node.input[2] for node in (quantize, dequantize) if node is not None and len(node.input) > 2]
    named = [name for name in (*zero_points, dequantize.input[0]) if name and graph.is_constant(name)]
    output_dtype = 0 if quantize is None else attribute_of(quantize, "output_dtype", 0)
    if named:
        number = graph.initializer(named[0]).data_type
    elif output_dtype:
        number = output_dtype
    else:
        number = TensorProto.UINT8
        warnings.append("has no zero point: ONNX then means UINT8, TensorRT INT8; add an int8 zero point of 0")
    dtype = _type_name(number)
    if dtype == "uint8" and not warnings:
        warnings.append("is UINT8: TensorRT-RTX reads it as INT8, which has half as many steps above zero")
    elif dtype not in (*_TENSORRT_TYPES, "uint8"):
        faults.append(f"is {dtype.upper()}, TensorRT's convolutions take INT8")
    return dtype, faults, warnings


def _scale_faults(scale: np.ndarray | None) -> list[str]:
    if scale is None:
        return ["the scale is computed in the graph, TensorRT wants a constant"]
    values = scale.astype(np.float32).reshape(-1)
    wrong = ~(np.isfinite(values) & (values > 0))
    if not wrong.any():
        return []
    first = int(np.argmax(wrong))
    where = f" (channel {first}, {int(wrong.sum())} of {values.size})" if values.size > 1 else ""
    return [f"the scale is {values[first]:g}{where}, it must be positive"]


def _same_parameters(graph: GraphIndex, quantize: onnx.NodeProto, dequantize: onnx.NodeProto) -> bool:
    for position in (1, 2):
        one, other = (_constant(graph, node, position) for node in (quantize, dequantize))
        if one is None or other is None:
            if position == 1 and quantize.input[1] != dequantize.input[1]:
                return False
            continue
        values = (value.astype(np.float32).reshape(-1) for value in (one, other))
        if not np.array_equal(*values, equal_nan=True):
            return False
    return True


def _constant(graph: GraphIndex, node: onnx.NodeProto, position: int) -> np.ndarray | None:
    name = node.input[position] if len(node.input) > position else ""
    while name and not graph.is_constant(name):
        cast = graph.producer(name, "Cast")
        name = cast.input[0] if cast is not None else ""
    return graph.constant(name) if name else None


def _type_name(number: int) -> str:
    return "fp8" if number == TensorProto.FLOAT8E4M3FN else TensorProto.DataType.Name(number).lower()
