from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.insertion import insert_qdq
from resnet_deploy.quant.noise import NoiseModel, NoiseSource, RunningNoise, measure_noise
from resnet_deploy.quant.table import CalibrationTable, TensorScale
from resnet_deploy.quant.units import layer_units, placement_of
from tests.reference.small_networks import make_table, resnet8_onnx


def _table(scales: dict[str, float]) -> CalibrationTable:
    return CalibrationTable(
        network_sha256="0" * 64,
        method="max",
        num_images=1,
        num_distinct=1,
        num_constant=0,
        tensors={
            name: TensorScale(
                amax=127 * scale, scale=scale, minimum=0.0, maximum=127 * scale, num_values=1, num_zeros=0
            )
            for name, scale in scales.items()
        },
        images=(),
    )


def _linear(weight: np.ndarray) -> onnx.ModelProto:
    """logits = x W^T: one Gemm, for which the first order is everything."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["logits"], name="fc", transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", weight.shape[1]])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", len(weight)])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_effects_of_a_linear_network_are_the_errors_of_its_margin() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 8)).astype(np.float32)
    x = rng.standard_normal((5, 8)).astype(np.float32)
    noise = measure_noise(_linear(weight), _table({"x": 0.1}), [x[:2], x[2:]])
    logits = x @ weight.T
    order = np.argsort(-logits, axis=1)
    rounded_x = np.clip(np.rint(x / np.float32(0.1)), -128, 127) * np.float32(0.1)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    rounded_w = np.rint(weight / scale) * scale

    def margin(values):
        return values[np.arange(5), order[:, 0]] - values[np.arange(5), order[:, 1]]

    by_kind = {source.is_weight: noise.effects[row] for row, source in enumerate(noise.sources)}
    # float32 sums of 8 products of order 1: 8 * 2^-24 * 4 < 1e-5
    assert by_kind[False] == pytest.approx(margin((rounded_x - x) @ weight.T), abs=1e-5)
    assert by_kind[True] == pytest.approx(margin(x @ (rounded_w - weight).T), abs=1e-5)
    assert noise.margins == pytest.approx(margin(logits), abs=1e-5)
    assert (noise.top1 == order[:, 0]).all() and (noise.top2 == order[:, 1]).all()


def test_predicted_noise_is_the_measured_one_within_a_factor_of_two() -> None:
    """Against brute force: the margins of the Q/DQ graph itself in ONNX Runtime."""
    model = resnet8_onnx()
    table = make_table(model, amax=6.0)
    x = np.random.default_rng(1).standard_normal((48, 3, 32, 32)).astype(np.float32)
    noise = measure_noise(model, table, [x])
    rows, reference = np.arange(48), open_session(model).run(None, {"images": x})[0]
    for nodes in (set(layer_units(model)), {"layer2.0.conv1"}, {"conv1"}):
        graph = insert_qdq(model, placement_of(model, nodes), table, float_precision=Precision.FP32)
        logits = open_session(graph).run(None, {"images": x})[0]
        change = logits - reference
        errors = change[rows, noise.top1] - change[rows, noise.top2]
        predicted = noise.variance(set(layer_units(model)) - nodes).mean()
        # 48 squares of a normal variable: the relative standard error of their mean is sqrt(2 / 48) = 0.2, of the two
        # means together 0.3; three of them, as a factor: 2 to 3.
        assert 1 / 3 < predicted / np.square(errors).mean() < 3


def test_one_tensor_read_twice_counts_once_with_both_effects_added() -> None:
    sources = (
        NoiseSource(node="a", tensor="t", is_weight=False),
        NoiseSource(node="b", tensor="t", is_weight=False),
        NoiseSource(node="b", tensor="w", is_weight=True),
    )
    noise = NoiseModel(
        sources=sources,
        effects=np.array([[3.0], [-1.0], [2.0]], np.float32),
        margins=np.array([2.0]),
        top1=np.array([0]),
        top2=np.array([1]),
    )
    assert noise.variance() == pytest.approx([(3 - 1) ** 2 + 2**2])
    assert noise.variance({"a"}) == pytest.approx([1 + 4])
    assert noise.variance({"b"}) == pytest.approx([9])
    assert noise.variance({"a", "b"}) == pytest.approx([0])
    # P(normal of variance 8 > 2) = Q(2 / sqrt 8) = Q(0.7071)
    assert noise.flips() == pytest.approx([0.5 * math.erfc(2 / math.sqrt(8) / math.sqrt(2))])
    assert noise.flips({"a", "b"}) == pytest.approx([0])


def test_a_growing_set_gives_the_variance_of_the_set() -> None:
    model = resnet8_onnx()
    noise = measure_noise(
        model, make_table(model), [np.random.default_rng(2).standard_normal((4, 3, 32, 32), np.float32)]
    )
    running, spared = RunningNoise(noise), set()
    for node in ("layer1.0.add", "conv1", "layer1.0.conv1", "fc"):
        ahead = running.without([node])
        running.spare([node])
        spared.add(node)
        assert running.variance == pytest.approx(noise.variance(spared))
        assert running.variance == pytest.approx(ahead)


def test_a_network_with_one_output_has_no_margin() -> None:
    with pytest.raises(GraphError, match="gives 1 output"):
        measure_noise(_linear(np.ones((1, 4), np.float32)), _table({"x": 0.1}), [np.ones((2, 4), np.float32)])
