from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.fold_batch_norm import fold_batch_norms
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session

PARAMETERS = ("gamma", "beta", "mean", "variance")


def _net(*, bias: bool = True, epsilon: float = 1e-3, seed: int = 0, spread: float = 1.0) -> onnx.ModelProto:
    """images -> Conv -> BatchNormalization -> Relu -> logits, 3 to 4 channels."""
    rng = np.random.default_rng(seed)
    values = {
        "w": rng.standard_normal((4, 3, 3, 3)),
        "gamma": rng.standard_normal(4) * spread,
        "beta": rng.standard_normal(4),
        "mean": rng.standard_normal(4) * spread,
        "variance": rng.random(4) * spread,
        **({"b": rng.standard_normal(4)} if bias else {}),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"] if bias else ["images", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", *PARAMETERS], ["n"], name="bn", epsilon=epsilon),
        helper.make_node("Relu", ["n"], ["logits"], name="relu"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _set(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    result, report = fold_batch_norms(model)
    check_model(result, name="folded")
    assert report.refused == () and [(f.node, f.layer) for f in report.folded] == [("bn", "conv")]
    return result


def _refusal(model: onnx.ModelProto) -> tuple[str, str]:
    before = model.SerializeToString()
    result, report = fold_batch_norms(model)
    (refused,) = report.refused
    assert report.folded == () and refused.node == "bn"
    assert result.SerializeToString() == before  # what is refused is left as it was
    return refused.tensor, refused.reason


@pytest.mark.parametrize("bias", [True, False])
def test_only_convolution_and_relu_are_left(bias):
    result = _folded(_net(bias=bias))
    assert [node.op_type for node in result.graph.node] == ["Conv", "Relu"]
    assert [node.output[0] for node in result.graph.node] == ["n", "logits"]
    assert {t.name for t in result.graph.initializer} == {"w", "b" if bias else "conv.bias"}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1e-5, 1e-3]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_folding_costs_one_rounding(seed, bias, epsilon, spread):
    """Against the formula in float64 with ONNX's definition; float32 rounds by at most 2^-24 of the value."""
    model = _net(bias=bias, epsilon=epsilon, seed=seed, spread=spread)
    index, after = GraphIndex(model.graph), GraphIndex(_folded(model).graph)
    gamma, beta, mean, variance = (index.constant(name).astype(np.float64) for name in PARAMETERS)
    deviation = np.sqrt(variance + np.float64(np.float32(epsilon)))
    b = index.constant("b").astype(np.float64) if bias else 0.0
    expected = index.constant("w").astype(np.float64) * (gamma / deviation)[:, None, None, None]
    np.testing.assert_allclose(after.constant("w"), expected, rtol=2.0**-23)
    # The bias is a difference: its rounding is relative to the larger of the two parts, in float64 2^-50 of them.
    shift = gamma * (b - mean) / deviation
    expected = shift + beta
    limit = 2.0**-23 * np.abs(expected) + 2.0**-48 * (np.abs(shift) + np.abs(beta) + np.abs(gamma * b / deviation))
    assert (np.abs(after.constant("b" if bias else "conv.bias") - expected) <= limit).all()


def test_onnx_runtime_gives_the_same():
    model = _net()
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8), dtype=np.float32)
    expected, got = (open_session(m).run(None, {"images": images})[0] for m in (model, _folded(model)))
    # Sums of 27 products, and the normalisation behind them: sqrt(27) * 2^-24 of the largest, four times for the
    # factor's two roundings, the addition and the order.
    assert np.abs(got - expected).max() <= 4 * 27**0.5 * 2.0**-24 * np.abs(expected).max()


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_has_its_part(name):
    """Planted fault for the comparison above: another value of any parameter gives another result."""
    model, other = _net(), _net()
    values = numpy_helper.to_array(next(t for t in other.graph.initializer if t.name == name))
    _set(other, name, values * 1.01)
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8), dtype=np.float32)
    expected, got = (open_session(m).run(None, {"images": images})[0] for m in (_folded(model), _folded(other)))
    assert np.abs(got - expected).max() > 4 * 27**0.5 * 2.0**-24 * np.abs(expected).max()


def test_folding_twice_is_folding_once():
    once = _folded(_net())
    twice, report = fold_batch_norms(once)
    assert report.folded == report.refused == ()
    assert twice.SerializeToString() == once.SerializeToString()


def test_the_model_that_was_given_is_not_changed():
    model = _net()
    before = model.SerializeToString()
    fold_batch_norms(model)
    assert model.SerializeToString() == before


def test_weight_that_two_convolutions_share_is_copied():
    model = _net()
    model.graph.node.append(helper.make_node("Conv", ["images", "w", "b"], ["other"], name="second", pads=[1] * 4))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 4, 8, 8]))
    result = _folded(model)
    index = GraphIndex(result.graph)
    conv, second = (next(n for n in result.graph.node if n.name == name) for name in ("conv", "second"))
    assert list(second.input[1:]) == ["w", "b"] and list(conv.input[1:]) == ["w_1", "b_1"]
    np.testing.assert_array_equal(index.constant("w"), GraphIndex(model.graph).constant("w"))


def test_two_normalisations_behind_one_another_are_both_folded():
    model = _net()
    extra = helper.make_node("BatchNormalization", ["n", *PARAMETERS], ["n2"], name="bn2")
    model.graph.node.insert(2, extra)
    model.graph.node[3].input[0] = "n2"
    result, report = fold_batch_norms(model)
    assert [(f.node, f.layer) for f in report.folded] == [("bn", "conv"), ("bn2", "conv")]
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8), dtype=np.float32)
    expected, got = (open_session(m).run(None, {"images": images})[0] for m in (model, result))
    assert np.abs(got - expected).max() <= 8 * 27**0.5 * 2.0**-24 * np.abs(expected).max()


@pytest.mark.parametrize("transposed", [True, False])
def test_gemm_takes_the_normalisation_behind_it(transposed):
    rng = np.random.default_rng(0)
    model = _net(bias=False)
    del model.graph.node[2]
    model.graph.node[0].CopyFrom(helper.make_node("Gemm", ["images", "w"], ["c"], name="conv", transB=int(transposed)))
    model.graph.node[1].output[0] = "logits"
    _set(model, "w", rng.standard_normal((4, 5) if transposed else (5, 4)))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 5]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4]))
    images = rng.standard_normal((3, 5), dtype=np.float32)
    expected, got = (open_session(m).run(None, {"images": images})[0] for m in (model, _folded(model)))
    assert np.abs(got - expected).max() <= 4 * 5**0.5 * 2.0**-24 * np.abs(expected).max()


def _as_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", 4, 8, 8]))


def _read_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["c"], ["side"], name="side"))
    model.graph.output.append(helper.make_tensor_value_info("side", TensorProto.FLOAT, ["N", 4, 8, 8]))


def _relu_between(model: onnx.ModelProto) -> None:
    model.graph.node.insert(1, helper.make_node("Relu", ["c"], ["r"], name="between"))
    model.graph.node[2].input[0] = "r"


def _at_the_entry(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "images"


def _training(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))


def _computed_weight(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Neg", ["w"], ["negative"], name="negative"))
    model.graph.node[1].input[1] = "negative"


def _negative_variance(model: onnx.ModelProto) -> None:
    _set(model, "variance", np.array([1.0, 1.0, -2.0, 1.0]))


def _three_channels(model: onnx.ModelProto) -> None:
    _set(model, "mean", np.zeros(3))


@pytest.mark.parametrize(
    ("plant", "tensor", "reason"),
    [
        (_as_output, "c", "the result of 'conv' is an output of the graph"),
        (_read_twice, "c", "the result of 'conv' is also read by 'side'"),
        (_relu_between, "r", "Relu 'between' is before it, not a convolution or Gemm"),
        (_at_the_entry, "images", "the network's input is before it, not a convolution or Gemm"),
        (_training, "n", "it is set to training: it normalises by the batch's own statistics"),
        (_computed_weight, "negative", "it is computed, not a constant"),
        (_negative_variance, "variance", "the normalisation of channel 2 is not finite: variance or parameters"),
        (_three_channels, "mean", "it has shape [3], expected [4]"),
    ],
)
def test_refusals_name_the_tensor_and_the_reason(plant, tensor, reason):
    model = _net()
    plant(model)
    assert _refusal(model) == (tensor, reason)
