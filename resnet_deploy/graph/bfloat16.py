"""A BF16 graph in FP32 arithmetic, for a processor that has no BF16 operators.

ONNX Runtime's CPU provider has none for Conv, Gemm or Q/DQ. What it runs in their place is this: every BF16 tensor
is held in FP32, and every operation that can make a value BF16 does not have is followed by a rounding to BF16.
That is what a GPU does, but for one thing: it sums in FP32 and, where it fuses operations, rounds once after
the last of them and not after each. The rounding here is never finer.
"""

from __future__ import annotations

__all__ = ["BF16_NOTE", "computes_in_bf16", "fp32_from_bf16"]

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph.types import cast_target, element_types

BF16_NOTE = "bf16 ran as fp32 operations, each rounded to bf16: ONNX Runtime has no bf16 operators here"
"""What to say wherever a result of such a run is shown."""

_MOVES_VALUES = {
    "Concat",
    "Flatten",
    "Identity",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""Operators whose results are values of their inputs, or 0: nothing to round."""


def computes_in_bf16(model: onnx.ModelProto) -> bool:
    """Whether a tensor of the graph is BF16."""
    graph = model.graph
    edges = (*graph.input, *graph.output)
    return (
        any(tensor.data_type == TensorProto.BFLOAT16 for tensor in graph.initializer)
        or any(value.type.tensor_type.elem_type == TensorProto.BFLOAT16 for value in edges)
        or any(node.op_type == "Cast" and cast_target(node) == TensorProto.BFLOAT16 for node in graph.node)
    )


def fp32_from_bf16(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` itself where it has no BF16, else a copy that computes the same in FP32, rounding to BF16.

    BF16 inputs and outputs become FP32; an input is rounded before it is read.
    """
    if not computes_in_bf16(model):
        return model
    types = element_types(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes: list[onnx.NodeProto] = []
    for value in graph.input:
        if types[value.name] == TensorProto.BFLOAT16:
            nodes += _rounded_input(graph, value.name)
    for node in graph.node:
        rounded = [name for name in node.output if types.get(name) == TensorProto.BFLOAT16]
        is_cast = node.op_type == "Cast" and bool(rounded)
        if is_cast:  # the rounding behind it does its work
            next(a for a in node.attribute if a.name == "to").i = TensorProto.FLOAT
        nodes.append(node)
        if node.op_type not in _MOVES_VALUES:
            nodes += _rounding_behind(node, rounded)
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return result


def _rounded_input(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    rounded = f"{name}.rounded"
    for node in graph.node:
        for position, read in enumerate(node.input):
            if read == name:
                node.input[position] = rounded
    return _rounding(name, rounded)


def _rounding_behind(node: onnx.NodeProto, names: list[str]) -> list[onnx.NodeProto]:
    """Nodes that round the outputs `names` of `node`, which now gives them out under another name."""
    nodes = []
    for name in names:
        node.output[list(node.output).index(name)] = f"{name}.wide"
        nodes += _rounding(f"{name}.wide", name)
    return nodes


def _rounding(source: str, target: str) -> list[onnx.NodeProto]:
    half = f"{target}.bf16"
    return [
        helper.make_node("Cast", [source], [half], name=f"{target}.round", to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [half], [target], name=f"{target}.widen", to=TensorProto.FLOAT),
    ]
