"""The float type of a graph's inputs and outputs, apart from what it computes in."""

from __future__ import annotations

__all__ = ["IO_TYPES", "with_float_io"]

import onnx
from onnx import TensorProto, helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.index import GraphIndex, Reader
from resnet_deploy.graph.types import cast_target, element_types

IO_TYPES = {
    Precision.FP32: TensorProto.FLOAT,
    Precision.FP16: TensorProto.FLOAT16,
    Precision.BF16: TensorProto.BFLOAT16,
}
"""What an input or output can be, and its type in ONNX."""


def with_float_io(model: onnx.ModelProto, io: Precision) -> onnx.ModelProto:
    """A copy of `model` whose float inputs and outputs are of type `io`; names, shapes and arithmetic stay.

    A cast at the edge takes the new type; one that would change nothing goes. Where an input is read as it is
    (by a QuantizeLinear, say, whose scale has its type), a cast back is put in.

    Raises:
        GraphError: `io` is no float type, or an output is also read inside the graph.
    """
    if io not in IO_TYPES:
        raise GraphError(f"inputs and outputs can not be {io}", remedy=f"one of {', '.join(map(str, IO_TYPES))}")
    types = element_types(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    floats = set(IO_TYPES.values())
    stored = {initializer.name for initializer in graph.initializer}
    for tensor in graph.input:
        if tensor.name not in stored and tensor.type.tensor_type.elem_type in floats:
            _change_input(graph, tensor, IO_TYPES[io])
    for tensor in graph.output:
        if tensor.type.tensor_type.elem_type in floats:
            _change_output(graph, tensor, IO_TYPES[io], types)
    del graph.value_info[:]  # shape inference finds the new types
    return result


def _change_input(graph: onnx.GraphProto, tensor: onnx.ValueInfoProto, wanted: int) -> None:
    name, old = tensor.name, tensor.type.tensor_type.elem_type
    if old == wanted:
        return
    tensor.type.tensor_type.elem_type = wanted
    readers = GraphIndex(graph).readers[name]
    casts = [reader.node for reader in readers if reader.node.op_type == "Cast"]
    for cast in casts:
        if cast_target(cast) == wanted:
            _remove_cast(graph, cast)
    direct = [reader for reader in readers if reader.node.op_type != "Cast"]
    if direct:
        _cast_back(graph, name, direct, old)


def _cast_back(graph: onnx.GraphProto, name: str, readers: list[Reader], old: int) -> None:
    inside = f"{name}.io"
    for reader in readers:
        reader.node.input[reader.position] = inside
    graph.node.insert(0, helper.make_node("Cast", [name], [inside], name=f"{inside}.cast", to=old))


def _change_output(graph: onnx.GraphProto, tensor: onnx.ValueInfoProto, wanted: int, types: dict[str, int]) -> None:
    name = tensor.name
    if tensor.type.tensor_type.elem_type == wanted:
        return
    index = GraphIndex(graph)
    if index.readers[name]:
        raise GraphError(
            f"output {name!r} is also read by {index.readers[name][0].node.name!r}, its type can not change"
        )
    tensor.type.tensor_type.elem_type = wanted
    producer = index.producers[name]
    if producer.op_type != "Cast":
        inside = f"{name}.io"
        producer.output[list(producer.output).index(name)] = inside
        graph.node.append(helper.make_node("Cast", [inside], [name], name=f"{inside}.cast", to=wanted))
        return
    next(a for a in producer.attribute if a.name == "to").i = wanted
    inside = producer.input[0]
    source = index.producers.get(inside)
    if source is not None and types[inside] == wanted and len(index.readers[inside]) == 1:
        source.output[list(source.output).index(inside)] = name
        graph.node.remove(producer)


def _remove_cast(graph: onnx.GraphProto, cast: onnx.NodeProto) -> None:
    for reader in GraphIndex(graph).readers[cast.output[0]]:
        reader.node.input[reader.position] = cast.input[0]
    graph.node.remove(cast)
