"""What can be left in float: single layers, all readers of one tensor, and the blocks of a residual network."""

from __future__ import annotations

__all__ = ["block_units", "layer_units", "owned_answers", "placement_of", "reader_groups"]

from collections.abc import Collection

import onnx

from resnet_deploy.graph.blocks import group_by_block
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.quant.placement import RULES, Placement, QuantizedRead, WeightUse


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
    """The quantisable nodes by block: "stem", "layer1.0" ..., "fc"; see `graph.blocks.group_by_block`."""
    return group_by_block(model, list(layer_units(model)))
