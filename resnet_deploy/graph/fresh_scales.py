"""Activation scales from the very tensor that is rounded: what eight bits can do, whatever the scales in the file."""

from __future__ import annotations

__all__ = ["with_fresh_scales"]

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet_deploy.graph.index import GraphIndex

_LARGEST = {"int8": 127.0, "float8_e4m3fn": 448.0}
_TINY = 2.0**-24


def with_fresh_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every symmetric activation pair takes max|x| / 127 (448 in FP8) of what it is given as scale.

    Pairs with a zero point, and those of weights, stay as they are. The scale is computed at each pass, over its batch.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    index = GraphIndex(result.graph)
    nodes: list[onnx.NodeProto] = []
    scales: dict[str, str] = {}
    for node in result.graph.node:
        if node.op_type == "QuantizeLinear" and (largest := _largest(node, index)):
            dtype = index.constant(node.input[1]).dtype
            more, constants = _scale_nodes(node, largest, dtype)
            nodes += more
            result.graph.initializer.extend(constants)
            node.input[1] = scales[node.output[0]] = more[-1].output[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in scales:
            scale, dtype = scales[node.input[0]], index.constant(node.input[1]).dtype
            name = f"{node.output[0]}.fresh_scale"
            kind = helper.np_dtype_to_tensor_dtype(dtype)
            nodes.append(helper.make_node("Cast", [scale], [name], name=name, to=kind))
            node.input[1] = name
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def _largest(node: onnx.NodeProto, index: GraphIndex) -> float:
    """Largest number of the pair's grid; 0 where the pair is to stay."""
    if index.is_constant(node.input[0]) or len(node.input) < 3 or not index.is_constant(node.input[2]):
        return 0.0
    zero, scale = index.constant(node.input[2]), index.constant(node.input[1])
    if zero.astype(np.float32).any() or scale.size != 1:
        return 0.0
    return _LARGEST.get(zero.dtype.name, 0.0)


def _scale_nodes(
    node: onnx.NodeProto, largest: float, dtype: np.dtype
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    base = f"{node.output[0]}.fresh"
    names = [f"{base}.{part}" for part in ("abs", "amax", "ratio", "scale")]
    constants = [
        numpy_helper.from_array(np.asarray(largest, dtype), f"{base}.largest"),
        numpy_helper.from_array(np.asarray(_TINY, dtype), f"{base}.least"),
    ]
    nodes = [
        helper.make_node("Abs", [node.input[0]], [names[0]], name=names[0]),
        helper.make_node("ReduceMax", [names[0]], [names[1]], name=names[1], keepdims=0),
        helper.make_node("Div", [names[1], constants[0].name], [names[2]], name=names[2]),
        helper.make_node("Max", [names[2], constants[1].name], [names[3]], name=names[3]),
    ]
    return nodes, constants
