"""Makes a graph from any exporter easy to read: constants are initializers, no-operations are gone, nodes have names."""

from __future__ import annotations

__all__ = ["TidyReport", "tidy_graph"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex

_CONSTANT_TYPES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TidyReport:
    """What was changed.

    Attributes:
        constants: Constant nodes that became initializers.
        removed: Identity and Dropout nodes taken out.
        renamed: Nodes that had no name, or one that another node has.
    """

    constants: int
    removed: int
    renamed: int


def tidy_graph(model: onnx.ModelProto) -> tuple[onnx.ModelProto, TidyReport]:
    """A copy of `model` that computes the same: local functions inlined, Constant nodes turned into initializers,
    Identity and Dropout taken out, and a name of its own for every node. The graph's inputs and outputs keep
    their names.

    Raises:
        GraphError: A Dropout is set to training.
    """
    result = onnx.ModelProto()
    result.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    constants = _lift_constants(result.graph)
    removed = _take_out_no_operations(result.graph)
    return result, TidyReport(constants=constants, removed=removed, renamed=_name_nodes(result.graph))


def _lift_constants(graph: onnx.GraphProto) -> int:
    kept, count = [], 0
    for node in graph.node:
        tensor = _constant_of(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        count += 1
    _replace_nodes(graph, kept)
    return count


def _constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a Constant node holds; None for texts and sparse tensors, which no convolution reads."""
    attribute = node.attribute[0]
    if attribute.name == "value":
        copy = onnx.TensorProto()
        copy.CopyFrom(attribute.t)
        return copy
    if attribute.name not in _CONSTANT_TYPES:
        return None
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.from_array(np.array(value, dtype=_CONSTANT_TYPES[attribute.name]))


def _take_out_no_operations(graph: onnx.GraphProto) -> int:
    outputs = {tensor.name for tensor in graph.output}
    count = 0
    while True:
        index = GraphIndex(graph)
        node = next((n for n in graph.node if _does_nothing(n, index) and _can_go(n, index, outputs)), None)
        if node is None:
            return count
        source, name = node.input[0], node.output[0]
        if name in outputs:  # the name is the caller's: the tensor takes it
            source, name = name, source
            producer = index.producers[name]
            producer.output[list(producer.output).index(name)] = source
        for reader in index.readers[name]:
            if reader.node is not node:
                reader.node.input[reader.position] = source
        graph.node.remove(node)
        count += 1


def _does_nothing(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(index.readers[name] for name in node.output[1:]):
        return False
    training = node.input[2] if len(node.input) > 2 else ""
    if training and (not index.is_constant(training) or index.constant(training).any()):
        raise GraphError(
            f"Dropout {node.name!r} is set to training, so the network's result is random",
            remedy="export the network in evaluation mode: net.eval(), training=TrainingMode.EVAL",
        )
    return True


def _can_go(node: onnx.NodeProto, index: GraphIndex, outputs: set[str]) -> bool:
    """A node between two names that the caller knows has to stay."""
    if node.output[0] not in outputs:
        return True
    return node.input[0] in index.producers and node.input[0] not in outputs


def _name_nodes(graph: onnx.GraphProto) -> int:
    taken: set[str] = set()
    all_names = {node.name for node in graph.node}
    count = 0
    for place, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = _free_name(node.name or f"{node.op_type}_{place}", lambda name: name in all_names)
            all_names.add(node.name)
            count += 1
        taken.add(node.name)
    return count


def _free_name(wanted: str, is_taken: Callable[[str], bool]) -> str:
    name, number = wanted, 0
    while is_taken(name):
        number += 1
        name = f"{wanted}_{number}"
    return name


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
