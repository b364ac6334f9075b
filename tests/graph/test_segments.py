from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.segments import segment_of, without_unread


def _diamond() -> onnx.ModelProto:
    """x -> a -> (b, c) -> d, and e, which nobody reads."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("Neg", ["a"], ["c"], name="c"),
        helper.make_node("Abs", ["c"], ["b"], name="b"),
        helper.make_node("Add", ["b", "c"], ["d"], name="d"),
        helper.make_node("Exp", ["a"], ["e"], name="e"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "d")]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))


def test_a_segment_ends_at_what_is_given_and_is_in_order() -> None:
    index = GraphIndex(_diamond().graph)
    nodes, read = segment_of(index, "d", {"a", "d"})
    assert [node.name for node in nodes] == ["c", "b", "d"] and read == ("a",)
    nodes, read = segment_of(index, "d", ())
    assert [node.name for node in nodes] == ["a", "c", "b", "d"] and read == ()


def test_nodes_that_nobody_reads_are_dropped() -> None:
    assert [node.name for node in without_unread(_diamond()).graph.node] == ["a", "c", "b", "d"]
