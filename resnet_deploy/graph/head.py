"""The end of a graph that only rewords its logits: softmax, and the k largest of it.

It computes in FP32 in every file, whatever the network before it computes in: it costs nothing beside the network,
and calibration, quantisation and the conversion to 16 bits work on the logits, without it.
"""

from __future__ import annotations

__all__ = ["Head", "append_softmax", "append_top_k", "put_on_head", "take_off_head"]

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph.index import GraphIndex

_REWORDS = ("TopK", "Cast")


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What was taken off a graph; without nodes where there was nothing to take off."""

    nodes: tuple[onnx.NodeProto, ...] = ()
    constants: tuple[onnx.TensorProto, ...] = ()
    outputs: tuple[onnx.ValueInfoProto, ...] = ()


def append_softmax(model: onnx.ModelProto) -> None:
    """`logits` [N, K] become `probabilities` [N, K], in place."""
    graph = model.graph
    logits = graph.output[0]
    shape = logits.type.tensor_type.shape
    graph.node.append(helper.make_node("Softmax", [logits.name], ["probabilities"], name="softmax", axis=1))
    del graph.output[:]
    graph.output.append(_value("probabilities", TensorProto.FLOAT, list(shape.dim)))


def append_top_k(model: onnx.ModelProto, k: int) -> None:
    """`probabilities` [N, K] become `scores` [N, k] float32, largest first, and `classes` [N, k] int32, in place.

    TopK gives int64 in ONNX and int32 in TensorRT, whose parser casts, and warns of, an int64 output.
    """
    graph = model.graph
    source = graph.output[0]
    batch = source.type.tensor_type.shape.dim[0]
    graph.initializer.append(numpy_helper.from_array(np.array([k], np.int64), "top_k.k"))
    graph.node.append(
        helper.make_node("TopK", [source.name, "top_k.k"], ["scores", "top_k.classes"], name="top_k", axis=1)
    )
    graph.node.append(
        helper.make_node("Cast", ["top_k.classes"], ["classes"], name="classes.cast", to=TensorProto.INT32)
    )
    del graph.output[:]
    for name, kind in (("scores", TensorProto.FLOAT), ("classes", TensorProto.INT32)):
        graph.output.append(_value(name, kind, [batch, onnx.TensorShapeProto.Dimension(dim_value=k)]))


def take_off_head(model: onnx.ModelProto) -> Head:
    """Let the graph end in its logits, in place; a graph that has no such head stays as it is."""
    graph = model.graph
    nodes = _nodes_of_head(graph)
    if not nodes:
        return Head()
    read = {name for node in nodes for name in node.input}
    head = Head(
        nodes=tuple(onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes),
        constants=tuple(
            onnx.TensorProto.FromString(tensor.SerializeToString())
            for tensor in graph.initializer
            if tensor.name in read
        ),
        outputs=tuple(onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in graph.output),
    )
    inferred = onnx.shape_inference.infer_shapes(model).graph
    logits = next(value for value in inferred.value_info if value.name == nodes[0].input[0])
    del graph.output[:]
    graph.output.append(logits)
    for node in nodes:
        graph.node.remove(node)
    names = {tensor.name for tensor in head.constants}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name in names:
            del graph.initializer[place]
    return head


def put_on_head(model: onnx.ModelProto, head: Head) -> None:
    """Give the graph its head back, in place; its logits must be float32."""
    if not head.nodes:
        return
    graph = model.graph
    graph.node.extend(head.nodes)
    graph.initializer.extend(head.constants)
    del graph.output[:]
    graph.output.extend(head.outputs)


def _nodes_of_head(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """A Softmax and all that comes after it, where every output does and nothing else is computed there; or none."""
    index = GraphIndex(graph)
    node = index.producer(graph.output[0].name)
    while node is not None and node.op_type in _REWORDS:
        node = index.producer(node.input[0])
    if node is None or node.op_type != "Softmax":
        return []
    nodes, made = [node], set(node.output)
    for later in graph.node:
        if made.intersection(later.input):
            nodes.append(later)
            made.update(later.output)
    is_end = all(later.op_type in _REWORDS for later in nodes[1:])
    return nodes if is_end and all(value.name in made for value in graph.output) else []


def _value(name: str, kind: int, dims: list[onnx.TensorShapeProto.Dimension]) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = kind
    value.type.tensor_type.shape.dim.extend(dims)
    return value
