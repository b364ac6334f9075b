"""Questions about an ONNX graph: who makes a tensor, who reads it, which tensors are constants."""

from __future__ import annotations

__all__ = ["GraphIndex", "Reader", "attribute_of", "attributes_of", "name_of"]

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import GraphError


class Reader(NamedTuple):
    """One place where a tensor is read: input number `position` of `node`."""

    node: onnx.NodeProto
    position: int


class GraphIndex:
    """A view of a graph as it was when the index was made; editing the graph does not update it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Reader]] = defaultdict(list)
        for node in graph.node:
            for position, name in enumerate(node.input):
                if name:
                    self.readers[name].append(Reader(node, position))
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is an initializer."""
        return name in self._initializers

    def initializer(self, name: str) -> onnx.TensorProto:
        """The initializer of that name.

        Raises:
            GraphError: There is none.
        """
        if name not in self._initializers:
            raise GraphError(f"tensor {name!r} is not an initializer of the graph")
        return self._initializers[name]

    def constant(self, name: str) -> np.ndarray:
        """The value of an initializer; raises GraphError where there is none."""
        return numpy_helper.to_array(self.initializer(name))

    def producer(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """The node that makes the tensor, if it is of one of `op_types` (any, where none is named)."""
        node = self.producers.get(name)
        return node if node is not None and (not op_types or node.op_type in op_types) else None


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values, by name; strings are bytes."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """One attribute of a node, or `default` where it is not set."""
    return attributes_of(node).get(name, default)


def name_of(node: onnx.NodeProto | None) -> str:
    """A node in words; None is what makes the network's input."""
    return "the network's input" if node is None else f"{node.op_type} {node.name!r}"
