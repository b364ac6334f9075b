from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.tidy import tidy_graph


def _model(nodes: list[onnx.NodeProto], *initializers: onnx.TensorProto, functions=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def _same(model: onnx.ModelProto, tidy: onnx.ModelProto) -> None:
    check_model(tidy, name="tidy")
    x = np.random.default_rng(0).standard_normal((2, 3), dtype=np.float32)
    expected, got = (open_session(m).run(["y"], {"x": x})[0] for m in (model, tidy))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("attribute", "value", "dtype"),
    [
        ("value", numpy_helper.from_array(np.array([2.0, 3.0, 4.0], np.float32)), np.float32),
        ("value_float", 2.5, np.float32),
        ("value_floats", [1.0, 2.0, 3.0], np.float32),
    ],
)
def test_constant_nodes_become_initializers(attribute, value, dtype):
    model = _model(
        [helper.make_node("Constant", [], ["c"], **{attribute: value}), helper.make_node("Mul", ["x", "c"], ["y"])]
    )
    tidy, report = tidy_graph(model)
    assert report.constants == 1 and [node.op_type for node in tidy.graph.node] == ["Mul"]
    assert numpy_helper.to_array(tidy.graph.initializer[0]).dtype == dtype
    _same(model, tidy)


def test_whole_numbers_stay_whole_numbers():
    model = _model(
        [helper.make_node("Constant", [], ["s"], value_ints=[0, 3]), helper.make_node("Reshape", ["x", "s"], ["y"])]
    )
    tidy, _ = tidy_graph(model)
    assert numpy_helper.to_array(tidy.graph.initializer[0]).tolist() == [0, 3]
    _same(model, tidy)


def test_identity_and_dropout_go_and_outputs_keep_their_names():
    model = _model(
        [
            helper.make_node("Identity", ["x"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Dropout", ["b"], ["c"]),
            helper.make_node("Identity", ["c"], ["y"]),
        ]
    )
    tidy, report = tidy_graph(model)
    assert report.removed == 3
    assert [(n.op_type, list(n.input), list(n.output)) for n in tidy.graph.node] == [("Relu", ["x"], ["y"])]
    _same(model, tidy)


def test_identity_between_input_and_output_stays():
    model = _model([helper.make_node("Identity", ["x"], ["y"])])
    tidy, report = tidy_graph(model)
    assert report.removed == 0
    _same(model, tidy)


def test_dropout_in_training_is_refused():
    model = _model(
        [helper.make_node("Dropout", ["x", "", "training"], ["y"], name="drop")],
        numpy_helper.from_array(np.array(True), "training"),
    )
    with pytest.raises(GraphError, match="Dropout 'drop' is set to training"):
        tidy_graph(model)


def test_every_node_has_a_name_of_its_own():
    names = ["", "same", "same", "Neg_0", ""]
    nodes = [helper.make_node("Neg", [f"t{i}" if i else "x"], [f"t{i + 1}"], name=n) for i, n in enumerate(names)]
    nodes[-1].output[0] = "y"
    tidy, report = tidy_graph(_model(nodes))
    found = [node.name for node in tidy.graph.node]
    assert report.renamed == 3 and found == ["Neg_0_1", "same", "same_1", "Neg_0", "Neg_4"]


def test_local_functions_are_inlined():
    double = helper.make_function(
        "local", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    model = _model([helper.make_node("Double", ["x"], ["y"], domain="local")], functions=[double])
    tidy, _ = tidy_graph(model)
    assert [node.op_type for node in tidy.graph.node] == ["Add"]
    _same(model, tidy)


def test_tidying_twice_changes_nothing_more():
    model = _model([helper.make_node("Identity", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])])
    once, _ = tidy_graph(model)
    twice, report = tidy_graph(once)
    assert (report.constants, report.removed, report.renamed) == (0, 0, 0)
    assert twice.SerializeToString() == once.SerializeToString()
