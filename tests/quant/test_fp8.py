from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.quant.fp8 import FP8_RULES
from resnet_deploy.quant.placement import RULES, find_placement
from resnet_deploy.quant.quantize import QuantizeOptions
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx


def _fp8(model: onnx.ModelProto, *, amax: float = 4.0, rest: Precision = Precision.FP16, **options) -> onnx.ModelProto:
    return quantize_model(model, make_table(model, amax), precision=Precision.FP8, float_precision=rest, **options)[0]


def _conv(channels: int, outputs: int, kernel: int, group: int = 1) -> onnx.ModelProto:
    weight = np.ones((outputs, channels // group, kernel, kernel), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="c", group=group)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        ({"channels": 32, "outputs": 32, "kernel": 7}, "a kernel of 7x7 has 49 taps, more than 32"),
        ({"channels": 32, "outputs": 32, "kernel": 6}, "36 taps"),
        ({"channels": 16, "outputs": 32, "kernel": 3}, "16 input channels, fewer than 17"),
        ({"channels": 32, "outputs": 16, "kernel": 3}, "16 output channels"),
        ({"channels": 64, "outputs": 64, "kernel": 3, "group": 4}, "16 input channels"),
        ({"channels": 17, "outputs": 17, "kernel": 5}, None),
        ({"channels": 64, "outputs": 64, "kernel": 3, "group": 2}, None),
    ],
)
def test_exclusions_are_refused_with_their_figures(conv, reason):
    model = _conv(**conv)
    answer = FP8_RULES[0].check(GraphIndex(model.graph), model.graph.node[0])
    if reason is None:
        assert len(tuple(answer)) == 2  # the activation and the weight
    else:
        assert reason in answer.reason and (answer.node, answer.tensor) == ("c", "x")


def test_the_rest_is_placed_as_for_int8():
    model = bottleneck_onnx()
    int8, fp8 = find_placement(model), find_placement(model, rules=FP8_RULES)
    assert set(fp8.reads) < set(int8.reads) and set(fp8.weights) < set(int8.weights)
    left = {read.node for read in int8.reads} - {read.node for read in fp8.reads}
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert {kinds[name] for name in left} == {"Conv", "MaxPool", "GlobalAveragePool"}
    assert [r.node for r in fp8.refusals] == ["conv1"] and "49 taps" in fp8.refusals[0].reason


def test_an_addition_beside_a_convolution_in_floating_point_gets_no_pair():
    placement = find_placement(resnet8_onnx(), rules=FP8_RULES)
    refused = {refusal.node: refusal.reason for refusal in placement.refusals}
    assert refused["layer1.0.add"] == "layer1.0.conv2, which it would fuse with, stays in floating point"
    assert "layer2.0.add" in {read.node for read in placement.reads}
    assert "layer1.0.add" in {read.node for read in find_placement(resnet8_onnx(), rules=RULES).reads}


@pytest.mark.parametrize("rest", [Precision.FP16, Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_structure(make, rest):
    model = make()
    fp8 = _fp8(model, rest=rest)
    check_model(fp8, name="fp8")
    graph = GraphIndex(fp8.graph)
    quantised = find_placement(model, rules=FP8_RULES).weights
    assert quantised
    for use in quantised:
        node = next(node for node in fp8.graph.node if node.name == use.node)
        dequantize = graph.producer(node.input[1], "DequantizeLinear")
        weight = graph.initializer(dequantize.input[0])
        assert weight.data_type == TensorProto.FLOAT8E4M3FN and weight.name == f"{use.weight}.fp8"
        assert len(graph.constant(dequantize.input[1])) == weight.dims[0]
        assert graph.initializer(dequantize.input[2]).data_type == TensorProto.FLOAT8E4M3FN
        pair = graph.producer(node.input[0], "DequantizeLinear")
        assert graph.producer(pair.input[0], "QuantizeLinear") is not None
    assert TensorProto.INT8 not in {tensor.data_type for tensor in fp8.graph.initializer}


def test_weights_use_the_whole_grid_and_are_within_its_error():
    model = bottleneck_onnx()
    graph, source = GraphIndex(_fp8(model).graph), GraphIndex(model.graph)
    for use in find_placement(model, rules=FP8_RULES).weights:
        values = graph.constant(f"{use.weight}.fp8").astype(np.float32)
        scale = graph.constant(f"{use.weight}.scale").astype(np.float32)
        scale = scale.reshape(-1, *[1] * (values.ndim - 1))
        weight = source.constant(use.weight)
        # Half a step of E4M3 is 2^-4 of the value, or 2^-10 scales; one roundoff more for w / scale in FP32.
        bound = np.maximum(np.abs(weight) * 2.0**-4, scale * 2.0**-10) * (1 + 2.0**-20)
        assert (np.abs(values * scale - weight) <= bound).all()
        # 448 is reached up to the rounding of the scale to FP16, which may take amax to the next smaller number, 416.
        assert set(np.abs(values).reshape(len(values), -1).max(axis=1)) <= {416.0, 448.0}


@pytest.mark.parametrize(("make", "side"), [(resnet8_onnx, 32), (bottleneck_onnx, 64)])
def test_onnx_runtime_computes_what_an_independent_emulation_does(make, side):
    """Oracle: PyTorch's float8 rounding at the graph's own pairs, everything else in FP32."""
    model = _fp8(make(), rest=Precision.FP32, amax=30.0)
    images = np.random.default_rng(0).standard_normal((2, 3, side, side), dtype=np.float32)
    names = [node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    names = [name for name in names if not name.endswith("weight.dq")]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    got = open_session(model).run([*names, "logits"], {"images": images})
    expected = TorchGraph(model).run({"images": torch.from_numpy(images)}, [*names, "logits"])
    for name, ours, theirs in zip([*names, "logits"], got, expected, strict=True):
        # The sums' order differs, so a value next to the middle of two E4M3 numbers may go the other way, by one
        # step (an eighth of itself), and move what follows.
        assert np.sqrt(((ours - theirs.numpy()) ** 2).mean()) <= 0.02 * np.abs(ours).max(), name
        if name in names[:1]:
            assert (ours == theirs.numpy()).mean() > 0.999


def test_int8_rounding_in_the_place_of_fp8_is_seen():
    """Planted fault for the comparison above: whole numbers instead of E4M3's."""
    model = _fp8(resnet8_onnx(), rest=Precision.FP32, amax=30.0)
    name = next(n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear" and "weight" not in n.name)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    honest = TorchGraph(model)
    wrong = TorchGraph(model)
    wrong.constants["zero_point"] = torch.zeros((), dtype=torch.float32)
    first, second = (net.run({"images": images}, [name])[0] for net in (honest, wrong))
    assert (first == second).float().mean() < 0.9


def test_fp8_is_nearly_the_float_network_and_a_small_range_is_not():
    model = resnet8_onnx()
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    expected = open_session(model).run(None, {"images": images})[0]
    errors = []
    for amax in (100.0, 0.1):  # room for every value; and a planted fault, everything saturated
        got = open_session(_fp8(model, amax=amax)).run(None, {"images": images})[0]
        errors.append(np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()))
    # Each rounding to E4M3 costs at most 2^-4 / sqrt(3) = 3.6 % rms; the 4 layers add two in quadrature: 10 %.
    assert errors[0] < 0.1
    assert errors[1] > 0.3


def test_other_precisions_are_no_quantisation():
    with pytest.raises(ConfigError, match="precision is fp16, expected int8 or fp8"):
        QuantizeOptions(onnx="a.onnx", precision=Precision.FP16)
    assert QuantizeOptions(onnx="a.fp32.onnx", precision=Precision.FP8).file().name == "a.fp8.onnx"
