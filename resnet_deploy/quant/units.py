"""What can be left in float: single layers, all readers of one tensor, and the blocks of a residual network."""

from __future__ import annotations

__all__ = ["block_units", "layer_units", "owned_answers", "placement_of", "reader_groups"]

import re
from collections.abc import Collection

import onnx

from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.quant.placement import RULES, Placement, QuantizedRead, WeightUse

_NAMED_BLOCK = re.compile(r"(layer\d+\.\d+)\.")
_STEM, _HEAD = "stem", "fc"


def owned_answers(model: onnx.ModelProto) -> list[tuple[str, QuantizedRead | WeightUse]]:
    """Everything that some rule would quantise, each with the node whose exclusion leaves it in float.

    That is not always the node that reads: the reads of an option A shortcut belong to its addition.
    """
    graph = GraphIndex(model.graph)
    found = []
    for node in model.graph.node:
        for rule in RULES:
            answer = rule.check(graph, node)
            if isinstance(answer, tuple):
                found += [(node.name, item) for item in answer]
    return found


def placement_of(model: onnx.ModelProto, nodes: Collection[str]) -> Placement:
    """The placement that quantises `nodes` and nothing else, even where that is a single addition."""
    items = [item for owner, item in owned_answers(model) if owner in nodes]
    return Placement(
        reads=tuple(item for item in items if isinstance(item, QuantizedRead)),
        weights=tuple(item for item in items if isinstance(item, WeightUse)),
        refusals=(),
    )


def layer_units(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Every node that can be quantised, by its name, in the graph's order."""
    return {owner: (owner,) for owner, _ in owned_answers(model)}


def reader_groups(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Tensor -> all nodes that read it rounded; the tensor stays in float when all of them do."""
    groups: dict[str, dict[str, None]] = {}
    for owner, item in owned_answers(model):
        if isinstance(item, QuantizedRead):
            groups.setdefault(item.scale_of, {})[owner] = None
    return {tensor: tuple(nodes) for tensor, nodes in groups.items()}


def block_units(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """The quantisable nodes by block: "stem", "layer1.0" ..., "fc"; without such names, by the residual additions.

    A graph made elsewhere is cut at its residual additions: a block is what lies between an addition and the tensor
    where its two sides part, and is named after the addition. What comes before the first is the stem, after the
    last "fc", between two "before <addition>".
    """
    owners = list(layer_units(model))
    named = {owner: match.group(1) for owner in owners if (match := _NAMED_BLOCK.match(owner))}
    block_of = named if named else _blocks_between_additions(model, set(owners))
    first = next((place for place, owner in enumerate(owners) if owner in block_of), len(owners))
    last = max((place for place, owner in enumerate(owners) if owner in block_of), default=-1)
    blocks: dict[str, list[str]] = {}
    for place, owner in enumerate(owners):
        if owner in block_of:
            name = block_of[owner]
        elif place < first < len(owners):
            name = _STEM
        elif place > last:
            name = _HEAD if block_of else owner  # without residual additions every layer stands for itself
        else:
            following = next(block_of[later] for later in owners[place:] if later in block_of)
            name = f"before {following}"
        blocks.setdefault(name, []).append(owner)
    return {name: tuple(nodes) for name, nodes in blocks.items()}


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
