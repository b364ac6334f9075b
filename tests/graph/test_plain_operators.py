from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph.constant_folding import fold_constants
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.plain_operators import settle_types, use_plain_operators
from resnet_deploy.graph.session import open_session

RNG = np.random.default_rng(0)


def _constant(name: str, value) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _model(nodes, *initializers, shape, result) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _rewritten(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """What is there afterwards, and what was said; the values are compared."""
    x = RNG.standard_normal([d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim], dtype=np.float32)
    expected = open_session(model).run(["y"], {"x": x})[0]
    said = use_plain_operators(model)
    check_model(model, name="plain")
    got = open_session(model).run(["y"], {"x": x})[0]
    # Means of 12 and sums of 4 numbers in another order: sqrt(12) roundoffs of the largest.
    assert np.abs(got - expected).max() <= 4 * 2.0**-24 * max(1, np.abs(expected).max())
    return [node.op_type for node in model.graph.node], said


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_mean_of_area_is_a_global_average_pool(axes):
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="mean", keepdims=1)
    model = _model([node], _constant("axes", axes), shape=[2, 5, 3, 4], result=[2, 5, 1, 1])
    assert _rewritten(model) == (["GlobalAveragePool"], ["mean: ReduceMean to GlobalAveragePool"])


def test_mean_that_drops_the_axes_gets_a_flatten():
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="mean", keepdims=0)
    model = _model([node], _constant("axes", [2, 3]), shape=[2, 5, 3, 4], result=[2, 5])
    assert _rewritten(model)[0] == ["GlobalAveragePool", "Flatten"]


def test_mean_over_other_axes_stays():
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="mean", keepdims=1)
    model = _model([node], _constant("axes", [1, 2]), shape=[2, 5, 3, 4], result=[2, 1, 1, 4])
    assert _rewritten(model) == (["ReduceMean"], [])


@pytest.mark.parametrize(
    ("settings", "result", "plain"),
    [
        ({"kernel_shape": [3, 4]}, [2, 5, 1, 1], ["GlobalAveragePool"]),
        ({"kernel_shape": [3, 3]}, [2, 5, 1, 2], ["AveragePool"]),
        ({"kernel_shape": [3, 4], "pads": [1, 0, 1, 0]}, [2, 5, 3, 1], ["AveragePool"]),
    ],
)
def test_average_over_the_whole_area_only_is_a_global_average_pool(settings, result, plain):
    node = helper.make_node("AveragePool", ["x"], ["y"], name="pool", **settings)
    assert _rewritten(_model([node], shape=[2, 5, 3, 4], result=result))[0] == plain


@pytest.mark.parametrize("shape", [[2, 60], [2, -1], [0, -1]])
def test_reshape_to_rows_is_a_flatten(shape):
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="rows")
    model = _model([node], _constant("shape", shape), shape=[2, 5, 3, 4], result=[2, 60])
    assert _rewritten(model)[0] == ["Flatten"] and not model.graph.initializer


def test_other_reshape_stays():
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="rows")
    model = _model([node], _constant("shape", [2, 15, 4]), shape=[2, 5, 3, 4], result=[2, 15, 4])
    assert _rewritten(model) == (["Reshape"], [])


@pytest.mark.parametrize("swapped", [False, True])
def test_matmul_and_bias_are_a_gemm(swapped):
    names = ["b", "m"] if swapped else ["m", "b"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="fc"),
        helper.make_node("Add", names, ["y"], name="add"),
    ]
    weights = _constant("w", RNG.standard_normal((4, 3), dtype=np.float32)), _constant("b", np.ones(3, np.float32))
    assert _rewritten(_model(nodes, *weights, shape=[2, 4], result=[2, 3]))[0] == ["Gemm"]


def test_matmul_whose_sum_is_no_bias_keeps_the_addition():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="fc"), helper.make_node("Add", ["m", "b"], ["y"])]
    nodes[1].name = "add"
    weights = _constant("w", RNG.standard_normal((4, 3), dtype=np.float32)), _constant("b", np.ones((2, 3), np.float32))
    assert _rewritten(_model(nodes, *weights, shape=[2, 4], result=[2, 3]))[0] == ["Gemm", "Add"]


def test_matmul_of_more_than_rows_stays():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")
    weight = _constant("w", RNG.standard_normal((4, 3), dtype=np.float32))
    assert _rewritten(_model([node], weight, shape=[2, 5, 4], result=[2, 5, 3])) == (["MatMul"], [])


def test_what_is_computed_from_constants_becomes_one():
    nodes = [
        helper.make_node("Shape", ["w"], ["s"], name="shape"),
        helper.make_node("CastLike", ["s", "x"], ["c"], name="like"),
        helper.make_node("Add", ["x", "c"], ["y"], name="add"),
    ]
    model = _model(nodes, _constant("w", np.zeros((7, 9), np.float32)), shape=[3, 2], result=[3, 2])
    settle_types(model)
    assert fold_constants(model) == 2
    assert [node.op_type for node in model.graph.node] == ["Add"]
    np.testing.assert_array_equal(open_session(model).run(["y"], {"x": np.zeros((3, 2), np.float32)})[0], [[7, 9]] * 3)


def test_pairs_on_weights_and_random_numbers_are_not_folded():
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("Add", ["x", "d"], ["y"], name="add"),
    ]
    constants = _constant("w", np.ones(2, np.float32)), _constant("s", np.float32(0.1)), _constant("z", np.int8(0))
    model = _model(nodes, *constants, shape=[3, 2], result=[3, 2])
    assert fold_constants(model) == 0 and len(model.graph.node) == 3
