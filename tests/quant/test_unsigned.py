"""ReLU outputs that use all of int8: what can, what it computes, and that no zero point is left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.quant.audit import audit_model
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.prepare import delivered, prepare
from resnet_deploy.quant.quantize import QuantizeOptions
from resnet_deploy.quant.unsigned import find_unsigned
from resnet_deploy.quant.zero_points import lower_zero_points
from tests.reference.small_networks import bottleneck_onnx, copy_of, make_table, quantize_model, resnet8_onnx

BOTH = pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
MODES = pytest.mark.parametrize("mode", [UnsignedRelu.FREE, UnsignedRelu.FIRST, UnsignedRelu.ALL])


def _prepared(model, mode, **options):
    return prepare(model, make_table(model), float_precision=Precision.FP32, unsigned_relu=mode, **options)


def _images(model, count=4):
    side = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][2:]
    return np.random.default_rng(0).standard_normal((count, 3, *side)).astype(np.float32)


def _run(model, images, names=()):
    wanted = copy_of(model)
    for name in names:
        wanted.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None))
    return open_session(wanted, num_threads=1).run(list(names) or None, {"images": images})


def _stored(model):
    return [
        n.output[0]
        for n in model.graph.node
        if n.op_type == "QuantizeLinear" and not n.name.endswith("padded.quantize")
    ]


def _integers(model, images, names):
    """In float64, so that no value lies between two integers by the order of sums alone."""
    graph = TorchGraph(model)
    graph.constants = {k: v.double() if v.dtype == torch.float32 else v for k, v in graph.constants.items()}
    with torch.no_grad():
        return graph.run({"images": torch.from_numpy(images).double()}, names)


@BOTH
@MODES
def test_the_form_without_zero_points_stores_the_same_integers(make, mode):
    quantized = _prepared(make(), mode).quantized
    lowered, _ = lower_zero_points(quantized)
    check_model(lowered, name="lowered")
    images, names = _images(make()), _stored(quantized)
    assert set(names) <= set(_stored(lowered))
    pairs = zip(names, *(_integers(m, images, names) for m in (quantized, lowered)), strict=True)
    for place, (name, before, after) in enumerate(pairs):
        # Biases are rounded to float32, 2^-24 of themselves: of some 100 steps that moves one value in 10^5 to the
        # other side of an edge, and the layers behind each such value see a step of difference in hundreds of places.
        # A constant that is wrong moves them all.
        different = float((before != after).double().mean())
        assert different < (5e-3 if place < 6 else 0.25), f"{name}: {different}"


@BOTH
def test_padding_of_zeros_in_place_of_the_lowest_number_would_be_noticed(make):
    quantized = _prepared(make(), UnsignedRelu.ALL).quantized
    lowered, _ = lower_zero_points(quantized)
    for tensor in lowered.graph.initializer:
        if tensor.name.endswith(".padded.value"):
            tensor.CopyFrom(numpy_helper.from_array(np.float32(0), tensor.name))
    images = _images(make())
    before, after = (_run(model, images)[0] for model in (quantized, lowered))
    assert np.abs(before - after).max() > 0.02 * np.abs(before).max()


@BOTH
@MODES
def test_no_zero_point_is_left_and_the_audit_finds_what_it_finds_without(make, mode):
    lowered, _ = quantize_model(make(), make_table(make()), float_precision=Precision.FP32, unsigned_relu=mode)
    for tensor in lowered.graph.initializer:
        if "zero_point" in tensor.name:
            assert not numpy_helper.to_array(tensor).any()
    signed, _ = quantize_model(make(), make_table(make()), float_precision=Precision.FP32)
    with_, without = audit_model(lowered), audit_model(signed)
    assert with_.passed
    assert [layer.node for layer in with_.layers] == [layer.node for layer in without.layers]
    assert [(a.node, a.fuses) for a in with_.additions] == [(a.node, a.fuses) for a in without.additions]
    assert with_.findings == without.findings == ()


def test_free_takes_what_only_convolutions_without_padding_and_additions_read():
    model = bottleneck_onnx()
    found = find_unsigned(model, find_placement(model), UnsignedRelu.FREE)
    assert found.num_pads == 0
    for block in ("layer1.0", "layer1.1", "layer2.0"):
        assert f"{block}.relu_1" in found.tensors  # the 3 x 3 convolution's output: a 1 x 1 one reads it
        assert f"{block}.relu" not in found.tensors
    assert "layer1.0.relu_2" in found.tensors  # read by a 1 x 1 convolution and the next block's addition
    lowered, shifted = lower_zero_points(_prepared(model, UnsignedRelu.FREE).quantized)
    assert shifted
    assert not any(node.op_type == "Pad" for node in lowered.graph.node)


def test_first_pads_once_for_the_first_convolutions_output():
    model = resnet8_onnx()
    found = find_unsigned(model, find_placement(model), UnsignedRelu.FIRST)
    assert found.tensors[0] == "relu"
    assert found.num_pads == 1
    assert {r.reason for r in found.refusals} == {
        "a padded convolution reads it",
        "GlobalAveragePool 'avgpool' reads it",
    }


def test_a_shifted_tensor_that_an_average_pool_reads_stays_signed():
    model = resnet8_onnx()
    found = find_unsigned(model, find_placement(model), UnsignedRelu.ALL)
    assert [r.reason for r in found.refusals] == ["GlobalAveragePool 'avgpool' reads it"]


@pytest.mark.parametrize("keep", ["relu", "layer1.0.relu"])
def test_a_relu_that_is_read_in_floating_point_too_stays(keep):
    """A tensor kept in float has no pair to shift; its ReLU must not go."""
    model = resnet8_onnx()
    steps = _prepared(model, UnsignedRelu.ALL, keep_float=(keep,))
    assert keep not in steps.unsigned.tensors
    lowered, _ = lower_zero_points(steps.quantized)
    assert any(node.op_type == "Relu" and node.output[0] == keep for node in lowered.graph.node)


def test_an_excluded_reader_keeps_the_tensor_signed():
    model = resnet8_onnx()
    steps = _prepared(model, UnsignedRelu.ALL, exclude=("layer1.0.conv1",))
    reason = next(r.reason for r in steps.unsigned.refusals if r.tensor == "relu")
    assert reason == "Conv 'layer1.0.conv1' reads 'relu' in floating point"


@BOTH
def test_half_the_step_is_a_quarter_of_the_noise(make):
    """Of the tensors alone: the rounding error of a ReLU's output in the middle of its range is step^2 / 12."""
    model, images = make(), _images(make(), 8)
    first = "relu"
    wanted = copy_of(model)
    wanted.graph.output.append(helper.make_tensor_value_info(first, onnx.TensorProto.FLOAT, None))
    (exact,) = open_session(wanted, num_threads=1).run([first], {"images": images})
    amax = float(exact.max())
    errors = []
    for low, high in ((0, 127), (0, 255)):
        scale = amax / high
        rounded = np.clip(np.rint(exact / scale), low, high) * scale
        errors.append(np.square(rounded - exact)[exact > 0].mean())
    assert 3.5 < errors[0] / errors[1] < 4.6


@BOTH
def test_torch_computes_the_form_with_zero_points_as_onnx_runtime_does(make):
    quantized = _prepared(make(), UnsignedRelu.ALL).quantized
    images = _images(make())
    with torch.no_grad():
        (ours,) = TorchGraph(quantized).run({"images": torch.from_numpy(images)})
    (theirs,) = _run(quantized, images)
    # A value on the edge between two integers may fall to the other side: a step in a few places of a layer.
    assert np.abs(ours.numpy() - theirs).max() < 0.05 * np.abs(theirs).max()


def test_off_changes_nothing():
    model = resnet8_onnx()
    quantized = _prepared(model, UnsignedRelu.OFF).quantized
    assert lower_zero_points(quantized) == (quantized, ())
    assert quantized == prepare(model, make_table(model), float_precision=Precision.FP32).quantized


@BOTH
@MODES
@pytest.mark.parametrize("rest", [Precision.FP16, Precision.BF16])
def test_biases_with_a_shift_and_the_scales_around_them_stay_fp32(make, mode, rest):
    steps = prepare(make(), make_table(make()), float_precision=rest, unsigned_relu=mode)
    _, shifted = lower_zero_points(steps.quantized)
    model = delivered(steps.quantized, rest)
    check_model(model, name="model")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    biases = {node.name: types[node.input[2]] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert bool(shifted) == (mode is not UnsignedRelu.FREE or make is bottleneck_onnx)
    assert all(biases[name] == onnx.TensorProto.FLOAT for name in shifted)
    assert biases["fc"] != onnx.TensorProto.FLOAT
    assert set(types) == {name for node in model.graph.node for name in node.input} & set(types)  # nothing unread


@BOTH
def test_fp16_around_unsigned_tensors_answers_as_fp32_does(make):
    """The classifier is in FP16, and of the bottlenecks the last block: a few steps of int8 fall the other way."""
    images = _images(make())
    steps = prepare(make(), make_table(make()), float_precision=Precision.FP16, unsigned_relu=UnsignedRelu.ALL)
    wide, narrow = (_run(delivered(steps.quantized, rest), images)[0] for rest in (Precision.FP32, Precision.FP16))
    np.testing.assert_allclose(narrow, wide, atol=0.02 * np.abs(wide).max())


def test_fp8_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is for int8"):
        QuantizeOptions(onnx=tmp_path / "x.onnx", precision=Precision.FP8, unsigned_relu=UnsignedRelu.ALL)


def test_a_layer_whose_result_is_read_in_floating_point_takes_no_shift():
    """FP32 would spread from its bias through all that is not rounded."""
    model = resnet8_onnx()
    steps = _prepared(model, UnsignedRelu.ALL, exclude=("layer1.0.conv2",))
    reasons = {r.tensor: r.reason for r in steps.unsigned.refusals}
    assert reasons["relu"] == "Conv 'layer1.0.conv2' reads 'layer1.0.relu' in floating point"
    check_model(delivered(steps.quantized, Precision.FP16), name="model")
