"""One ONNX graph that averages its members."""

from __future__ import annotations

__all__ = ["ensemble_onnx"]

from collections.abc import Sequence

import onnx
from onnx import helper

from resnet_deploy.core.errors import ExportError
from resnet_deploy.export.averaging import append_log_mean_softmax, int64_constant


def ensemble_onnx(models: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """`images` [N, 3, H, W] -> `logits` [N, K]: log of the members' mean softmax; of one member, that very graph.

    Nodes and weights of member i are called "members.i." and their own name.

    Raises:
        ExportError: The members' inputs or numbers of classes differ.
    """
    if len(models) == 1:
        return models[0]
    shapes = [(_shape(model.graph.input[0]), _shape(model.graph.output[0])) for model in models]
    if len(set(shapes)) != 1:
        raise ExportError(f"the members of an ensemble have different inputs or outputs: {shapes}")
    result = onnx.ModelProto()
    result.CopyFrom(models[0])
    graph = result.graph
    for field in (graph.node, graph.initializer, graph.value_info):
        del field[:]
    logits = [_add_member(graph, model.graph, f"members.{index}.") for index, model in enumerate(models)]
    graph.node.append(helper.make_node("Concat", logits, ["votes"], name="votes", axis=0))
    num_classes = shapes[0][1][1]
    shape = int64_constant(graph, (len(models), -1, num_classes))
    graph.node.append(helper.make_node("Reshape", ["votes", shape], ["votes.by_member"], name="votes.by_member"))
    mean = append_log_mean_softmax(graph, "votes.by_member", classes=2, over=[0], name="votes")
    rows = int64_constant(graph, (-1, num_classes))
    graph.node.append(helper.make_node("Reshape", [mean, rows], ["logits"], name="votes.mean"))
    return result


def _add_member(graph: onnx.GraphProto, member: onnx.GraphProto, prefix: str) -> str:
    """Copy a member's nodes and weights under new names; gives the name of its logits. Integers are shared."""
    kept = {member.input[0].name: graph.input[0].name, "": ""}
    for tensor in member.initializer:
        if tensor.name.startswith("int64."):
            kept[tensor.name] = tensor.name
            if any(t.name == tensor.name for t in graph.initializer):
                continue
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = kept.get(tensor.name, prefix + tensor.name)
    for node in member.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:] = [kept.get(name, prefix + name) for name in node.input]
        copy.output[:] = [prefix + name for name in node.output]
    return prefix + member.output[0].name


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
