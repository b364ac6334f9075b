"""Where an INT8 graph rounds: the pairs on its activations, and the int8 weights with their scales.

Reads the form that `quantize` writes; what differs from it is refused, not guessed at.
"""

from __future__ import annotations

__all__ = ["RoundedActivation", "RoundedWeight", "find_rounded_activations", "find_rounded_weights"]

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex, attribute_of

_MOVES_VALUES = {"Cast", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Transpose"}
"""Operators whose results are values that they read (or zero), so that a second rounding on the same grid is none."""


class RoundedActivation(NamedTuple):
    """Tensors that are rounded with one and the same scale.

    A max-pool has a pair before and one behind it, option A's shortcut two in a row: their scales have to stay equal.

    Attributes:
        tensors: Names of what is rounded.
        scales: Names of the initializers that hold the scale, those of QuantizeLinear and of DequantizeLinear.
        value: The scale.
    """

    tensors: tuple[str, ...]
    scales: tuple[str, ...]
    value: float


class RoundedWeight(NamedTuple):
    """An int8 constant behind a DequantizeLinear.

    Attributes:
        node, position: Where it is read: input number `position` of the node of that name.
        values, scale: Names of the initializers: int8, and one scale per slice along `axis`.
        dequantized: Name of the DequantizeLinear's result.
    """

    node: str
    position: int
    values: str
    scale: str
    dequantized: str
    axis: int


def find_rounded_activations(graph: onnx.GraphProto, *, any_zero_point: bool = False) -> tuple[RoundedActivation, ...]:
    """The rounding of every activation, in the graph's order.

    Args:
        any_zero_point: Take pairs with another zero point than 0, too.
    Raises:
        GraphError: A pair that is not int8, has a zero point other than 0 or several scales; names it.
    """
    index = GraphIndex(graph)
    found: list[RoundedActivation] = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        readers = [reader.node for reader in index.readers[node.output[0]]]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            raise GraphError(f"the int8 result of node {node.name!r} is read by something else than a DequantizeLinear")
        for one in (node, *readers):
            _check_int8(index, one, any_zero_point=any_zero_point)
        scales = tuple(dict.fromkeys((node.input[1], *(reader.input[1] for reader in readers))))
        values = {float(number) for name in scales for number in index.constant(name).astype(np.float32).reshape(-1)}
        if len(values) > 1 or any(index.constant(name).size > 1 for name in scales):
            raise GraphError(
                f"the pair of node {node.name!r} has the scales {sorted(values)}, expected one for the whole tensor"
            )
        pair = RoundedActivation((node.input[0],), scales, values.pop())
        same = {pair.scales[0], *_scales_behind(index, node.input[0])}
        place = next(
            (i for i, other in enumerate(found) if other.value == pair.value and same.intersection(other.scales)), None
        )
        if place is None:
            found.append(pair)
        else:
            joined = (tuple(dict.fromkeys(a + b)) for a, b in zip(found[place][:2], pair[:2], strict=True))
            found[place] = RoundedActivation(*joined, pair.value)
    return tuple(found)


def find_rounded_weights(graph: onnx.GraphProto) -> tuple[RoundedWeight, ...]:
    """The int8 weights, in the graph's order.

    Raises:
        GraphError: A DequantizeLinear of a constant that is not int8 or has a zero point other than 0; names it.
    """
    index = GraphIndex(graph)
    found = []
    for node in graph.node:
        for position, name in enumerate(node.input):
            dequantize = index.producer(name, "DequantizeLinear")
            if dequantize is None or not index.is_constant(dequantize.input[0]):
                continue
            _check_int8(index, dequantize)
            axis = attribute_of(dequantize, "axis", 1)
            values, scale = dequantize.input[:2]
            found.append(RoundedWeight(node.name, position, values, scale, dequantize.output[0], axis))
    return tuple(found)


def _scales_behind(index: GraphIndex, tensor: str) -> tuple[str, ...]:
    """Scales of the DequantizeLinear whose values `tensor` holds, moved at most; none where there is no such node."""
    node = index.producer(tensor)
    while node is not None and node.op_type in _MOVES_VALUES:
        node = index.producer(node.input[0])
    return (node.input[1],) if node is not None and node.op_type == "DequantizeLinear" else ()


def _check_int8(index: GraphIndex, node: onnx.NodeProto, *, any_zero_point: bool = False) -> None:
    if len(node.input) < 3 or not index.is_constant(node.input[2]):
        raise GraphError(f"node {node.name!r} has no constant zero point, so what it rounds to is not said to be int8")
    zero_point = index.initializer(node.input[2])
    if zero_point.data_type != TensorProto.INT8:
        kind = TensorProto.DataType.Name(zero_point.data_type).lower()
        raise GraphError(f"node {node.name!r} rounds to {kind}, expected int8")
    if np.any(index.constant(node.input[2])) and not any_zero_point:
        raise GraphError(f"node {node.name!r} has a zero point other than 0, expected symmetric rounding")
