"""Channel classes of small graphs and whole networks; a scaled network has to answer as before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph.channel_classes import find_channel_classes, scale_channels
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.exact_input import with_exact_input
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx, small_preprocess

SEED = 0


def _graph(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], *, outputs=("y",), rank: int = 4
) -> onnx.ModelProto:
    """Nodes that read "x" [N, 3, 6, 6]; constants by name; outputs have `rank` axes."""
    for place, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type.lower()}{place}"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "C", "H", "W"][:rank]) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    check_model(model, name="small")
    return model


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED + sum(shape)).normal(size=shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _conv(source: str, result: str, weight: str, bias: str = "", **attributes) -> onnx.NodeProto:
    inputs = [source, weight, bias] if bias else [source, weight]
    return helper.make_node("Conv", inputs, [result], name=result, **attributes)


def _between(node: onnx.NodeProto | list[onnx.NodeProto], num_channels: int = 4, **constants) -> onnx.ModelProto:
    """Convolution to 4 channels "a" -> `node`, from "a" to "b" -> convolution of `num_channels` -> "y"."""
    nodes = node if isinstance(node, list) else [node]
    weights = {"w1": _array(4, 3, 3, 3), "b1": _array(4), "w2": _array(5, num_channels, 1, 1)}
    return _graph([_conv("x", "a", "w1", "b1"), *nodes, _conv("b", "y", "w2")], weights | constants)


def _factors(num: int) -> np.ndarray:
    """Some four octaves wide."""
    return np.concatenate([[1.0], np.exp2(np.random.default_rng(SEED).uniform(-2, 2, num - 1))])


def _difference(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    """Largest difference of outputs over their largest value, by ONNX Runtime."""
    (image,) = model.graph.input
    shape = [dim.dim_value or 2 for dim in image.type.tensor_type.shape.dim]
    x = np.random.default_rng(SEED).normal(size=shape).astype(np.float32)
    first, second = (open_session(m, num_threads=1).run(None, {image.name: x}) for m in (model, other))
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(first, second, strict=True))


TOLERANCE = 1e-5  # sums of at most some thousand float32 terms, each rounded anew (2^-24)


def _assert_scaled_is_the_same(model: onnx.ModelProto, *, num_free: int) -> None:
    classes = find_channel_classes(model)
    assert classes.num_classes == num_free + 1
    scaled = scale_channels(model, classes, _factors(classes.num_classes))
    check_model(scaled, name="scaled")
    assert _difference(model, scaled) < TOLERANCE
    assert list(scaled.graph.node) == list(model.graph.node)
    if num_free:
        assert scaled.SerializeToString() != model.SerializeToString()


def test_resnet8_scales_each_stage_as_one_and_each_inner_convolution_alone():
    # 16 + 32 + 64 channels inside blocks; stages of 16, 32 and 64, where option A puts the first of each into the
    # next: 8 zero channels on either side of 16, then 16 of 32, so 64 classes in all.
    _assert_scaled_is_the_same(resnet8_onnx(), num_free=16 + 32 + 64 + 64)


def test_a_network_of_bottlenecks_scales_each_inner_convolution_alone():
    inner = 2 * (64 + 64) + 2 * 128 + 2 * 256 + 2 * 512
    _assert_scaled_is_the_same(bottleneck_onnx(), num_free=64 + inner + 256 + 512 + 1024 + 2048)


def test_a_factor_that_only_one_side_of_an_addition_gets_is_noticed():
    """The planted fault: a class split in two."""
    model = resnet8_onnx()
    classes = find_channel_classes(model)
    layers = list(classes.layers)
    place = next(i for i, layer in enumerate(layers) if layer.node == "layer1.0.conv2")
    layers[place] = layers[place]._replace(rows=layers[place].rows + 1)
    broken = type(classes)(num_classes=classes.num_classes, layers=tuple(layers))
    assert _difference(model, scale_channels(model, broken, _factors(classes.num_classes))) > 0.01


def test_the_input_and_the_outputs_stay_as_they_are():
    classes = find_channel_classes(resnet8_onnx())
    assert not classes.layers[0].columns.any() and not classes.layers[-1].rows.any()
    weight = {"w1": _array(4, 3, 3, 3), "w2": _array(5, 4, 1, 1)}
    inside = _graph([_conv("x", "a", "w1"), _conv("a", "y", "w2")], weight, outputs=("y", "a"))
    _assert_scaled_is_the_same(inside, num_free=0)


def test_another_entry_does_not_number_the_classes_anew():
    """What is learnt on the graph with an exact input holds for the graph without."""
    model = bottleneck_onnx()
    exact, refusal = with_exact_input(model, small_preprocess())
    assert refusal is None
    first, second = find_channel_classes(model), find_channel_classes(exact)
    assert first.num_classes == second.num_classes
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.node == other.node
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.columns, other.columns)


NODE = helper.make_node
LETS_PASS = {
    "Relu": _between(NODE("Relu", ["a"], ["b"])),
    "MaxPool": _between(NODE("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])),
    "AveragePool": _between(NODE("AveragePool", ["a"], ["b"], kernel_shape=[2, 2])),
    "GlobalAveragePool": _between(NODE("GlobalAveragePool", ["a"], ["b"])),
    "ReduceMean over positions": _between(NODE("ReduceMean", ["a", "axes"], ["b"], keepdims=1), axes=_ints(2, -1)),
    "Identity": _between(NODE("Identity", ["a"], ["b"])),
    "Clip at 0": _between(NODE("Clip", ["a", "low"], ["b"]), low=np.float32(0)),
    "Clip without limits": _between(NODE("Clip", ["a"], ["b"])),
    "Pad of positions": _between(NODE("Pad", ["a", "pads"], ["b"]), pads=_ints(0, 0, 1, 1, 0, 0, 1, 1)),
    "Slice of positions": _between(
        NODE("Slice", ["a", "starts", "ends", "axes"], ["b"]), starts=_ints(1), ends=_ints(3), axes=_ints(2)
    ),
}


@pytest.mark.parametrize("name", LETS_PASS)
def test_an_operator_lets_positive_factors_pass(name):
    _assert_scaled_is_the_same(LETS_PASS[name], num_free=4)


def test_zero_channels_and_chosen_channels_keep_their_classes():
    """Two of four channels, the last first, between two zero ones on each side: as option A's shortcut."""
    nodes = [
        NODE("Slice", ["a", "starts", "ends", "axes", "steps"], ["c"]),
        NODE("Pad", ["c", "pads", "", "axes"], ["b"]),
    ]
    constants = {"starts": _ints(3), "ends": _ints(-9), "axes": _ints(1), "steps": _ints(-2), "pads": _ints(2, 2)}
    model = _between(nodes, 6, **constants)
    _assert_scaled_is_the_same(model, num_free=4)
    first, last = find_channel_classes(model).layers
    assert last.columns[0, 2:4].tolist() == first.rows[[3, 1]].tolist()


def test_channels_put_side_by_side_keep_their_classes():
    nodes = [NODE("Relu", ["a"], ["c"]), NODE("Concat", ["c", "a"], ["b"], axis=1)]
    _assert_scaled_is_the_same(_between(nodes, 8), num_free=4)


def test_an_addition_unites_the_classes_of_its_sides():
    nodes = [_conv("x", "c", "w3"), NODE("Add", ["c", "a"], ["b"])]
    _assert_scaled_is_the_same(_between(nodes, w3=_array(4, 3, 3, 3)), num_free=4)


@pytest.mark.parametrize("group", [2, 4])
def test_a_convolution_with_groups_reads_its_own_channels(group):
    nodes = [_conv("a", "b", "w3", group=group)]
    _assert_scaled_is_the_same(_between(nodes, 8, w3=_array(8, 4 // group, 1, 1)), num_free=4 + 8)


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_a_classifier_over_all_positions_reads_each_channel_in_a_row(flatten, trans_b):
    flat = NODE("Flatten", ["a"], ["f"]) if flatten == "Flatten" else NODE("Reshape", ["a", "shape"], ["f"])
    nodes = [
        _conv("x", "a", "w1", "b1"),
        flat,
        NODE("Gemm", ["f", "w2", "b2"], ["h"], transB=trans_b),
        NODE("Relu", ["h"], ["r"]),
        NODE("Gemm", ["r", "w3"], ["y"], transB=trans_b),
    ]
    inner, last = _array(7, 64), _array(5, 7)
    constants = {
        "w1": _array(4, 3, 3, 3),
        "b1": _array(4),
        "w2": inner if trans_b else inner.T.copy(),
        "b2": _array(7),
        "w3": last if trans_b else last.T.copy(),
    }
    constants |= {"shape": _ints(0, -1)} if flatten == "Reshape" else {}
    _assert_scaled_is_the_same(_graph(nodes, constants, rank=2), num_free=4 + 7)


STOPS = {
    "ReLU6": _between(NODE("Clip", ["a", "low", "high"], ["b"]), low=np.float32(0), high=np.float32(6)),
    "Clip above 0": _between(NODE("Clip", ["a", "low"], ["b"]), low=np.float32(0.5)),
    "an unknown operator": _between(NODE("Sigmoid", ["a"], ["b"])),
    "an addition of a constant": _between(NODE("Add", ["a", "c"], ["b"]), c=_array(1, 4, 1, 1)),
    "a product with a constant": _between(NODE("Mul", ["a", "c"], ["b"]), c=_array(1, 4, 1, 1)),
    "an addition of the input": _between(
        [NODE("Slice", ["x", "s", "e", "axes"], ["c"]), NODE("Add", ["a", "c"], ["b"])],
        s=_ints(0, 0, 0),
        e=_ints(1, 4, 4),
        axes=_ints(1, 2, 3),
    ),
    "padding with 1": _between(
        NODE("Pad", ["a", "pads", "one"], ["b"]), pads=_ints(0, 0, 1, 1, 0, 0, 1, 1), one=np.float32(1)
    ),
    "reflected padding": _between(
        NODE("Pad", ["a", "pads"], ["b"], mode="reflect"), pads=_ints(0, 0, 1, 1, 0, 0, 1, 1)
    ),
    "a mean over channels": _between(NODE("ReduceMean", ["a", "axes"], ["b"]), 1, axes=_ints(1)),
    "a reshape that mixes": _between(NODE("Reshape", ["a", "s"], ["b"]), 16, s=_ints(0, 16, 2, 2)),
}


@pytest.mark.parametrize("name", STOPS)
def test_an_operator_that_lets_no_factor_pass_fixes_its_channels(name):
    _assert_scaled_is_the_same(STOPS[name], num_free=0)


def test_a_weight_that_two_layers_read_is_not_scaled():
    nodes = [_conv("x", "c", "w1"), _conv("x", "a", "w1"), NODE("Add", ["a", "c"], ["b"]), _conv("b", "y", "w2")]
    model = _graph(nodes, {"w1": _array(4, 3, 3, 3), "w2": _array(5, 4, 1, 1)})
    _assert_scaled_is_the_same(model, num_free=0)


def test_a_bias_that_two_layers_read_is_not_scaled():
    nodes = [_conv("x", "a", "w1", "b1"), _conv("a", "b", "w3", "b1"), _conv("b", "y", "w2")]
    constants = {"w1": _array(4, 3, 3, 3), "w3": _array(4, 4, 1, 1), "w2": _array(5, 4, 1, 1), "b1": _array(4)}
    _assert_scaled_is_the_same(_graph(nodes, constants), num_free=0)


def test_sides_of_different_shape_are_not_united():
    """[N, 4, 4, 4] + [N, 4]: the second is added along the width."""
    nodes = [
        _conv("x", "a", "w1"),
        NODE("GlobalAveragePool", ["a"], ["p"]),
        NODE("Flatten", ["p"], ["f"]),
        NODE("Add", ["a", "f"], ["b"]),
        _conv("b", "y", "w2"),
    ]
    model = _graph(nodes, {"w1": _array(4, 3, 3, 3), "w2": _array(5, 4, 1, 1)})
    assert find_channel_classes(model).num_classes == 1


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1.0, 2.0], r"shape \(2,\), expected 5"),
        ([2.0, 1, 1, 1, 1], "the first of them 1"),
        ([1.0, 1, -1, 1, 1], "from -1.0 to 1.0"),
        ([1.0, 1, np.nan, 1, 1], "from nan to nan"),
    ],
)
def test_factors_that_would_change_the_network_are_refused(factors, message):
    model = LETS_PASS["Relu"]
    with pytest.raises(ValueError, match=message):
        scale_channels(model, find_channel_classes(model), np.array(factors))
