"""The blocks of a residual network, by the names of its nodes or by its additions."""

from __future__ import annotations

__all__ = ["group_by_block"]

import re
from collections.abc import Sequence

import onnx

from resnet_deploy.graph.index import GraphIndex

_NAMED_BLOCK = re.compile(r"(layer\d+\.\d+)\.")
_STEM, _HEAD = "stem", "fc"


def group_by_block(model: onnx.ModelProto, nodes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Nodes by block: "stem", "layer1.0" ..., "fc"; without such names, by the residual additions.

    A graph made elsewhere is cut at its residual additions: a block is what lies between an addition and the tensor
    where its two sides part, and is named after the addition. What comes before the first is the stem, after the
    last "fc", between two "before <addition>".

    Args:
        nodes: Names of the nodes to group, in the graph's order.
    """
    named = {owner: match.group(1) for owner in nodes if (match := _NAMED_BLOCK.match(owner))}
    block_of = named if named else _blocks_between_additions(model, set(nodes))
    first = next((place for place, owner in enumerate(nodes) if owner in block_of), len(nodes))
    last = max((place for place, owner in enumerate(nodes) if owner in block_of), default=-1)
    blocks: dict[str, list[str]] = {}
    for place, owner in enumerate(nodes):
        if owner in block_of:
            name = block_of[owner]
        elif place < first < len(nodes):
            name = _STEM
        elif place > last:
            name = _HEAD if block_of else owner  # without residual additions every layer stands for itself
        else:
            following = next(block_of[later] for later in nodes[place:] if later in block_of)
            name = f"before {following}"
        blocks.setdefault(name, []).append(owner)
    return {name: tuple(members) for name, members in blocks.items()}


def _blocks_between_additions(model: onnx.ModelProto, owners: set[str]) -> dict[str, str]:
    graph = GraphIndex(model.graph)
    place = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    block_of: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "Add" or any(graph.is_constant(name) for name in node.input):
            continue
        behind = [_ancestors(graph, name) for name in node.input]
        shared = behind[0] & behind[1]
        if not shared:
            continue
        fork = max(shared, key=lambda name: place.get(name, -1))
        inside = (behind[0] | behind[1]) - _ancestors(graph, fork)
        members = {graph.producers[name].name for name in inside if name in graph.producers} | {node.name}
        for member in members & owners:
            block_of.setdefault(member, node.name)
    return block_of


def _ancestors(graph: GraphIndex, tensor: str) -> set[str]:
    """The tensor and all that it is computed from, constants left out."""
    found, waiting = set(), [tensor]
    while waiting:
        name = waiting.pop()
        if name in found or not name or graph.is_constant(name):
            continue
        found.add(name)
        node = graph.producers.get(name)
        waiting += list(node.input) if node is not None else []
    return found
