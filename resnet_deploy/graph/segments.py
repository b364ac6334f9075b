"""Parts of a graph: what makes a tensor out of others, and what nothing reads."""

from __future__ import annotations

__all__ = ["segment_of", "without_unread"]

from collections.abc import Collection

import onnx

from resnet_deploy.graph.index import GraphIndex


def segment_of(index: GraphIndex, tensor: str, stops: Collection[str]) -> tuple[list[onnx.NodeProto], tuple[str, ...]]:
    """The nodes that make `tensor`, back to `stops`, to constants and to the graph's inputs.

    Args:
        stops: Tensors that are taken as given; `tensor` itself is computed even if it is one of them.
    Returns:
        The nodes, each behind those it reads; and which of `stops` they read.
    """
    nodes: dict[str, onnx.NodeProto] = {}
    read: dict[str, None] = {}
    waiting = [(tensor, False)]
    entered: set[str] = set()
    while waiting:
        name, is_done = waiting.pop()
        node = index.producers.get(name)
        if is_done:
            nodes[node.output[0]] = node
            continue
        if name in stops and name != tensor:
            read[name] = None
            continue
        if node is None or node.output[0] in entered:
            continue
        entered.add(node.output[0])
        waiting.append((name, True))
        waiting += [(before, False) for before in reversed(node.input) if before and not index.is_constant(before)]
    return list(nodes.values()), tuple(read)


def without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the nodes and constants that no output needs, in place."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    for place in reversed(range(len(graph.node))):
        if needed.isdisjoint(graph.node[place].output):
            del graph.node[place]
        else:
            needed.update(graph.node[place].input)
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]
    return model
