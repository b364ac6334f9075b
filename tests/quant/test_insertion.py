from __future__ import annotations

from collections import Counter
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import _fp16_quantize_rounds, open_session
from resnet_deploy.quant.insertion import quantize_weight, representable_scale
from resnet_deploy.quant.table import CalibrationTable
from tests.reference.small_networks import bottleneck_onnx, copy_of, make_table, quantize_model, resnet8_onnx

HALVES = {Precision.FP16: np.float16, Precision.BF16: ml_dtypes.bfloat16}
BOTH_FLOATS = pytest.mark.parametrize("float_precision", [Precision.FP32, Precision.FP16])


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-1000, 1000, width=32)),
    st.sampled_from([Precision.FP32, *HALVES]),
    st.sampled_from([0, 1]),
    st.sampled_from([1.0, 2.0**-12, 2.0**-20]),
)
def test_weight_error_is_at_most_half_a_scale(weight, float_precision, axis, factor):
    weight = weight * np.float32(factor)
    quantized = quantize_weight(weight, axis=axis, float_precision=float_precision, name="w")
    scales = quantized.scales.reshape([-1 if i == axis else 1 for i in range(3)])
    error = np.abs(weight.astype(np.float64) - quantized.values.astype(np.float64) * scales)
    # Half a scale, plus the rounding of w / scale in float32: at most 127 * 2^-24 scales.
    assert (error <= scales * (0.5 + 127 * 2.0**-23)).all()
    assert quantized.values.dtype == np.int8 and quantized.values.min() >= -127
    assert (quantized.scales > 0).all()
    if float_precision in HALVES:
        stored = quantized.scales.astype(HALVES[float_precision]).astype(np.float32)
        np.testing.assert_array_equal(stored, quantized.scales)


def test_all_zero_channel_gets_scale_one():
    quantized = quantize_weight(np.zeros((2, 3), np.float32), axis=0, float_precision=Precision.FP16, name="w")
    assert quantized.scales.tolist() == [1, 1] and not quantized.values.any()


@given(st.floats(0, 60000, width=32), st.sampled_from(list(HALVES)))
def test_scale_rounded_up_is_never_smaller(scale, precision):
    rounded = float(representable_scale(np.float32(scale), precision, up=True))
    assert rounded >= scale and rounded > 0
    assert float(np.float32(rounded).astype(HALVES[precision])) == rounded


@given(st.floats(2.0**-10, 60000, width=32), st.sampled_from([(Precision.FP16, 2.0**-11), (Precision.BF16, 2.0**-8)]))
def test_scale_is_rounded_to_the_nearest(scale, of):
    precision, roundoff = of
    rounded = float(representable_scale(np.float32(scale), precision))
    assert abs(rounded - scale) <= roundoff * scale


@BOTH_FLOATS
@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_structure(make, float_precision):
    model = make()
    int8, placement = quantize_model(model, make_table(model), float_precision=float_precision)
    check_model(int8, name="int8")
    graph = GraphIndex(int8.graph)
    for node in int8.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            data, weight = (graph.producer(node.input[i], "DequantizeLinear") for i in (0, 1))
            assert graph.producer(data.input[0], "QuantizeLinear") is not None
            assert graph.constant(weight.input[0]).dtype == np.int8  # int8 constants, no QuantizeLinear
            assert len(graph.constant(weight.input[1])) == len(graph.constant(weight.input[0]))
            assert not graph.producer(node.input[2])  # the bias stays a float constant
    # One pair per tensor and scale, and one more dequantisation per weight.
    kinds = Counter(node.op_type for node in int8.graph.node)
    pairs = len({(r.tensor, r.scale_of) for r in placement.reads})
    assert kinds["QuantizeLinear"] == pairs and kinds["DequantizeLinear"] == pairs + len(placement.weights)
    for tensor in (*int8.graph.input, *int8.graph.output):
        assert tensor.type.tensor_type.elem_type == TensorProto.FLOAT
    floats = {t.data_type for t in int8.graph.initializer} - {TensorProto.INT8, TensorProto.INT64}
    wanted = {TensorProto.FLOAT} if float_precision is Precision.FP32 else {TensorProto.FLOAT16, TensorProto.FLOAT}
    assert floats == wanted


def test_main_path_into_the_addition_is_bare():
    model = bottleneck_onnx()
    int8, _ = quantize_model(model, make_table(model), float_precision=Precision.FP16)
    graph = GraphIndex(int8.graph)
    for node in int8.graph.node:
        if node.op_type == "Add":
            makers = Counter(graph.producer(name).op_type for name in node.input)
            assert makers == {"Conv": 1, "DequantizeLinear": 1}


def test_fp16_graph_holds_the_scales_that_the_weights_were_quantised_with():
    model = resnet8_onnx()
    fp32, _ = quantize_model(model, make_table(model), float_precision=Precision.FP32)
    fp16, _ = quantize_model(model, make_table(model), float_precision=Precision.FP16)
    scale = GraphIndex(fp16.graph).constant("layer1.0.conv1.weight.scale")
    values = GraphIndex(fp16.graph).constant("layer1.0.conv1.weight.int8")
    weight = GraphIndex(model.graph).constant("layer1.0.conv1.weight")
    assert scale.dtype == np.float16
    error = np.abs(values * np.float32(scale)[:, None, None, None] - weight)
    assert (error <= np.float32(scale)[:, None, None, None] * 0.5001).all()
    assert GraphIndex(fp32.graph).constant("layer1.0.conv1.weight.scale").dtype == np.float32


def _table_of_largest_values(model: onnx.ModelProto, images: np.ndarray) -> CalibrationTable:
    table = make_table(model)
    watched = copy_of(model)
    names = [name for name in table.tensors if name != "images"]
    for name in names:
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    values = open_session(watched).run(names, {"images": images})
    amax = {name: float(np.abs(value).max()) for name, value in zip(names, values, strict=True)}
    amax["images"] = float(np.abs(images).max())
    tensors = {k: replace(v, amax=amax[k], scale=amax[k] / 127) for k, v in table.tensors.items()}
    return replace(table, tensors=tensors)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return open_session(model).run(None, {"images": images})[0]


@BOTH_FLOATS
@pytest.mark.parametrize(("make", "side"), [(resnet8_onnx, 32), (bottleneck_onnx, 64)])
def test_onnx_runtime_computes_nearly_the_float_network(make, side, float_precision):
    model = make()
    images = np.random.default_rng(0).standard_normal((4, 3, side, side), dtype=np.float32)
    table = _table_of_largest_values(model, images)
    int8, _ = quantize_model(model, table, float_precision=float_precision)
    expected, got = _logits(model, images), _logits(int8, images)
    # A range of 5 to 7 standard deviations in 127 steps: each rounding adds 6 / 127 / sqrt(12) = 1.4 % of a
    # standard deviation; the 8 to 17 layers add two each (activation, weight) in quadrature: up to 8 %. The
    # logits of an untrained network differ little from image to image and so lose the common part; twice that.
    # An ONNX Runtime that truncates in QuantizeLinear (see graph/session.py) rounds FP16 more coarsely elsewhere
    # too: 1.23 gives 0.18 where 1.31 gives 0.14.
    limit = 0.16 if _fp16_quantize_rounds() else 0.2
    assert np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()) < limit


def test_a_wrong_scale_shows_in_the_logits():
    """Planted fault for the comparison above: a range a hundred times too small clips everything."""
    model = resnet8_onnx()
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    int8, _ = quantize_model(model, make_table(model, 0.08), float_precision=Precision.FP32)
    expected, got = _logits(model, images), _logits(int8, images)
    assert np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()) > 0.5


def test_max_pool_and_option_a_pairs_change_no_value():
    """The repeated pairs have the scale of the first, so quantising twice is quantising once."""
    model = resnet8_onnx()
    int8, _ = quantize_model(model, make_table(model), float_precision=Precision.FP32)
    graph = GraphIndex(int8.graph)
    names = ["layer2.0.downsample.pad", "layer2.0.downsample.pad.dq"]
    assert graph.constant("layer2.0.downsample.pad.scale") == graph.constant("layer1.0.relu_1.scale")
    for name in names:
        int8.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    before, after = open_session(int8).run(names, {"images": images})
    np.testing.assert_array_equal(before, after)
    assert before.any()


def test_not_a_number_in_a_weight_is_refused_by_name():
    model = resnet8_onnx()
    tensor = next(t for t in model.graph.initializer if t.name == "layer2.0.conv1.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[5, 0, 0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(CalibrationError, match=r"'layer2\.0\.conv1\.weight' holds NaN or infinity, first in channel 5"):
        quantize_model(model, make_table(model), float_precision=Precision.FP16)
