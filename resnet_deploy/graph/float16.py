"""FP32 graph -> strongly typed FP16 graph that keeps its FP32 input and output.

Written here, not taken from a converter library, because precision is a property of our graphs: no operator
is left in FP32 by a hidden block list, weights are never clamped, and Q/DQ pairs keep their meaning.
"""

from __future__ import annotations

__all__ = ["fp16_from_fp32"]

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex

_FLOAT16_MAX = float(np.finfo(np.float16).max)
_SUPPORTED = {
    "Add", "AveragePool", "Concat", "Conv", "DequantizeLinear", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool",
    "Pad", "QuantizeLinear", "Relu", "Reshape", "Slice", "Sub",
}  # fmt: skip
"""Operators whose float inputs and outputs all have one type, so that changing the initializers changes it."""

_AVERAGING = {"Concat", "Exp", "Flatten", "Log", "LogSoftmax", "ReduceMax", "ReduceMean", "Reshape", "Sub", "Sum"}
"""Operators of the mean of softmax, which stays FP32: it costs nothing beside the network, and in FP16 the
probability of a class that is 2^24 times less likely than another is zero."""


def fp16_from_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` that computes in FP16 between a cast at its entry and one at its exit.

    Where the graph averages softmax (ensembles, ten-crop), the exit is before the first LogSoftmax.

    An input that only a QuantizeLinear reads gets no cast: the pair itself is one (scale FP32 on the way in,
    FP16 on the way out), which spares a kernel and a rounding before the quantisation.

    Raises:
        GraphError: An initializer is NaN, infinite or beyond FP16's range (names it), or the graph holds an
            operator that this pass does not know.
    """
    averaging = _averaging_nodes(model.graph)
    for node in model.graph.node:
        known = _AVERAGING if node.name in averaging else _SUPPORTED
        if node.op_type not in known:
            raise GraphError(
                f"node {node.name!r} is a {node.op_type}, which the FP16 pass does not know",
                remedy=f"it knows {', '.join(sorted(known))}",
            )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for initializer in graph.initializer:
        if initializer.data_type == TensorProto.FLOAT:
            initializer.CopyFrom(numpy_helper.from_array(_as_float16(initializer), initializer.name))
    entry = [node for tensor in graph.input for node in _enter(graph, tensor.name)]
    producers = GraphIndex(graph).producers
    leave = [_leave(graph, tensor.name) for tensor in graph.output if producers[tensor.name].name not in averaging]
    nodes = [*entry, *_widened(graph, averaging), *leave]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # they name the old types; shape inference finds the new ones
    return result


def _as_float16(initializer: onnx.TensorProto) -> np.ndarray:
    values = numpy_helper.to_array(initializer)
    if not np.isfinite(values).all():
        raise GraphError(f"initializer {initializer.name!r} holds NaN or infinity")
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise GraphError(
            f"initializer {initializer.name!r} reaches {np.abs(values).max():.6g}, beyond FP16's {_FLOAT16_MAX:g}",
            remedy="keep this network in FP32, or train it with weight decay",
        )
    return halves


def _enter(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    readers = GraphIndex(graph).readers[name]
    if readers and all(reader.node.op_type == "QuantizeLinear" for reader in readers):
        for reader in readers:
            _keep_scale_in_fp32(graph, reader.node)
        return []
    half = f"{name}.fp16"
    for reader in readers:
        reader.node.input[reader.position] = half
    return [helper.make_node("Cast", [name], [half], name=f"{name}.cast", to=TensorProto.FLOAT16)]


def _keep_scale_in_fp32(graph: onnx.GraphProto, quantize: onnx.NodeProto) -> None:
    scale = GraphIndex(graph).constant(quantize.input[1]).astype(np.float32)
    name = f"{quantize.input[1]}.fp32"
    graph.initializer.append(numpy_helper.from_array(scale, name))
    quantize.input[1] = name


def _averaging_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that are, or come after, a LogSoftmax."""
    names: set[str] = set()
    made: set[str] = set()
    for node in graph.node:
        if node.op_type == "LogSoftmax" or made.intersection(node.input):
            names.add(node.name)
            made.update(node.output)
    return names


def _widened(graph: onnx.GraphProto, averaging: set[str]) -> list[onnx.NodeProto]:
    """The nodes, with a cast to FP32 before the first of `averaging`."""
    half = {name for node in graph.node if node.name not in averaging for name in node.output}
    nodes = []
    for node in graph.node:
        for position, name in enumerate(node.input) if node.name in averaging else ():
            if name in half:
                wide = f"{name}.fp32"
                nodes.append(helper.make_node("Cast", [name], [wide], name=f"{name}.cast", to=TensorProto.FLOAT))
                node.input[position] = wide
        nodes.append(node)
    return nodes


def _leave(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    half = f"{name}.fp16"
    index = GraphIndex(graph)
    producer = index.producers[name]
    producer.output[list(producer.output).index(name)] = half
    for reader in index.readers[name]:
        reader.node.input[reader.position] = half
    return helper.make_node("Cast", [half], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
