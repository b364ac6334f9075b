"""Our own files pass, and every fault that is planted in one is found and named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import check_model
from resnet_deploy.quant.audit import audit_model
from resnet_deploy.quant.audit_result import Audit
from tests.reference.qdq_graphs import (
    add_pair,
    bypass_pair,
    int8_residual,
    node_of,
    pair_on,
    residual_onnx,
    set_constant,
)
from tests.reference.small_networks import make_table, quantize_model, resnet8_onnx


def _layer(audit: Audit, name: str):
    return next(layer for layer in audit.layers if layer.node == name)


def _addition(audit: Audit, name: str):
    return next(addition for addition in audit.additions if addition.node == name)


def _size(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims))


def _audited(model: onnx.ModelProto, **options) -> Audit:
    check_model(model, name="a graph with a planted fault")
    return audit_model(model, **options)


@pytest.mark.parametrize("float_precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize(
    ("make", "summary"),
    [
        (
            resnet8_onnx,
            "7 of 7 convolutions int8 in, 7 int8 out; 1 of 1 matrix product int8 in; 3 of 3 residual additions",
        ),
        (residual_onnx, "12 of 12 convolutions int8 in, 12 int8 out; 1 of 1 matrix product int8 in; 3 of 3 residual"),
    ],
)
def test_what_quantize_writes_passes(make, summary, float_precision):
    model = make()
    audit = audit_model(quantize_model(model, make_table(model), float_precision=float_precision)[0])
    assert audit.passed and bool(audit)
    assert audit.summary.startswith(summary)
    assert audit.summary.endswith("fuse; 0 stray pairs; 1 reformat expected")
    assert audit.findings == ()
    assert [(r.tensor, r.to) for r in audit.reformats] == [("images", "int8")]
    assert all(pool.int8 for pool in audit.pools) and audit.pools
    assert audit.precision == "int8"


def test_scales_and_types_are_those_in_the_file():
    layer = _layer(audit_model(int8_residual()), "layer1.0.conv1")
    assert layer.activation_scale == float(np.float32(4 / 127))
    assert (layer.activation, layer.weight, layer.num_weight_scales) == ("int8", "int8", 4)


def test_additions_fuse_with_the_convolution_on_the_main_path():
    audit = audit_model(int8_residual())
    assert {a.node: a.convolution for a in audit.additions} == {
        f"layer{i}.{j}.add": f"layer{i}.{j}.conv3" for i, j in ((1, 0), (1, 1), (2, 0))
    }


def test_float_file_has_nothing_to_fail():
    audit = audit_model(residual_onnx())
    assert audit.passed and audit.precision == "float"
    assert audit.summary.startswith("0 of 12 convolutions int8 in, 0 int8 out")
    assert audit.reformats == () and audit.findings == ()


def test_excluded_layer_is_float_on_purpose_and_costs_reformats():
    model = residual_onnx()
    int8, _ = quantize_model(model, make_table(model), float_precision=Precision.FP16, exclude=("layer2.0.conv2",))
    audit = audit_model(int8)
    layer = _layer(audit, "layer2.0.conv2")
    assert audit.passed and not layer.int8_in and not layer.is_meant and layer.problems == ()
    # The convolution before it writes FP16, so its own result is no int8; behind it a conversion to int8.
    assert not _layer(audit, "layer2.0.conv1").int8_out
    assert ("layer2.0.relu_1", "int8") in [(r.tensor, r.to) for r in audit.reformats]


def test_float_activation_fails_and_is_named():
    model = int8_residual()
    tensor = bypass_pair(model, "layer2.0.conv2")
    audit = _audited(model)
    (failed,) = audit.failed_layers
    assert not audit.passed and failed.node == "layer2.0.conv2"
    assert failed.problems == (f"its activation {tensor!r} is read in floating point",)
    assert audit.summary.startswith("11 of 12 convolutions int8 in, 10 int8 out")


def test_float_weight_fails_and_is_named():
    model = int8_residual()
    set_constant(model, "w", np.ones((8, 8, 3, 3), np.float32))
    node_of(model, "layer2.0.conv2").input[1] = "w"
    (failed,) = _audited(model).failed_layers
    assert failed.node == "layer2.0.conv2" and failed.problems == ("its weight 'w' is float",)


def test_accepted_layer_does_not_fail():
    model = int8_residual()
    bypass_pair(model, "layer2.0.conv2")
    audit = _audited(model, float_ok=("layer2.0.conv2",))
    assert audit.passed and _layer(audit, "layer2.0.conv2").accepted
    assert not _layer(audit, "layer2.0.conv2").int8_in  # it is still said


def test_unknown_accepted_layer_is_an_error():
    with pytest.raises(GraphError, match="no layer is called 'conv9'") as error:
        audit_model(int8_residual(), float_ok=("conv9",))
    assert "layer2.0.conv2" in error.value.remedy


@pytest.mark.parametrize(
    ("constant", "value", "message"),
    [
        ("relu.zero", np.int8(3), "the zero point is 3, TensorRT takes 0 only"),
        ("relu.scale", np.float32(0), "the scale is 0, it must be positive"),
        ("relu.scale", np.float32(-0.5), "the scale is -0.5, it must be positive"),
        ("relu.scale", np.float32(np.nan), "the scale is nan, it must be positive"),
    ],
)
def test_pair_that_tensorrt_refuses_fails(constant, value, message):
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    base = "layer1.1.relu.dq.planted"
    set_constant(model, base + constant.removeprefix("relu"), value)
    audit = _audited(model)
    assert not audit.passed
    (refused,) = audit.of_kind("refused")
    assert refused.node == f"{base}.dequantize" and message in refused.message
    assert any(message in problem for problem in _layer(audit, "layer1.1.conv2").problems)


def test_one_bad_scale_among_a_weights_is_named_by_its_channel():
    model = int8_residual()
    scales = np.full(4, 0.1, np.float32)
    scales[2] = 0
    set_constant(model, "layer1.1.conv2.weight.scale", scales)
    (refused,) = _audited(model).of_kind("refused")
    assert refused.message == "the scale is 0 (channel 2, 1 of 4), it must be positive"


def test_scales_along_the_input_channels_fail():
    model = int8_residual()
    node = node_of(model, "layer1.1.conv2.weight.dequantize")
    next(a for a in node.attribute if a.name == "axis").i = 1
    (failed,) = _audited(model).failed_layers
    assert failed.problems == ("weight: scales along axis 1, the output channels are along axis 0",)


def test_one_scale_for_a_whole_weight_is_said_but_does_not_fail():
    model = int8_residual()
    set_constant(model, "layer1.1.conv2.weight.scale", np.float32(0.1))
    set_constant(model, "layer1.1.conv2.weight.zero_point", np.int8(0))
    audit = _audited(model)
    (finding,) = audit.of_kind("per-tensor weight")
    assert audit.passed and finding.node == "layer1.1.conv2" and _layer(audit, "layer1.1.conv2").num_weight_scales == 1


def test_a_scale_for_each_channel_of_an_activation_fails():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    base = "layer1.1.relu.dq.planted"
    set_constant(model, f"{base}.scale", np.full(4, 0.1, np.float32))
    set_constant(model, f"{base}.zero", np.zeros(4, np.int8))
    (failed,) = _audited(model).failed_layers
    assert failed.problems == ("activation: 4 scales, TensorRT fuses one per tensor",)


def test_pairs_on_both_addends_do_not_fuse_and_the_one_to_remove_is_named():
    model = int8_residual()
    planted = add_pair(model, "layer1.1.add", 0)
    audit = _audited(model)
    addition = _addition(audit, "layer1.1.add")
    assert not addition.fuses and addition.convolution == ""
    assert addition.reason.startswith(f"both addends come out of pairs: remove {planted!r} behind 'layer1.1.conv3'")
    assert "2 of 3 residual additions fuse" in audit.summary
    assert audit.passed  # the convolutions are all int8; it only costs a kernel


def test_addition_without_a_pair_does_not_fuse_and_the_shortcut_is_named():
    model = int8_residual()
    bypass_pair(model, "layer2.0.add", 1)
    audit = _audited(model)
    reason = _addition(audit, "layer2.0.add").reason
    assert reason == "neither addend comes out of a pair: give the shortcut 'layer2.0.downsample.0' one"
    assert not _layer(audit, "layer2.0.conv3").int8_out


def test_pair_on_the_wrong_addend_does_not_fuse():
    model = int8_residual()
    bypass_pair(model, "layer1.1.add", 1)
    add_pair(model, "layer1.1.add", 0)
    reason = _addition(_audited(model), "layer1.1.add").reason
    assert reason.startswith("the addend without a pair comes from Relu 'layer1.0.relu_2', not from a convolution")
    assert "move the pair from 'layer1.1.conv3' to 'layer1.0.relu_2'" in reason


def test_convolution_read_twice_does_not_fuse():
    model = int8_residual()
    model.graph.node.append(helper.make_node("Sigmoid", ["layer1.1.conv3"], ["side"], name="side"))
    model.graph.output.append(helper.make_tensor_value_info("side", TensorProto.FLOAT, ["N", 16, 8, 8]))
    audit = _audited(model)
    assert "also read by Sigmoid 'side'" in _addition(audit, "layer1.1.add").reason
    assert not _layer(audit, "layer1.1.conv3").int8_out


def test_batch_normalization_before_the_addition_keeps_it_from_fusing():
    model = int8_residual()
    for name in ("g", "b", "m", "v"):
        set_constant(model, name, np.ones(16, np.float32))
    node = helper.make_node("BatchNormalization", ["layer1.1.conv3", "g", "b", "m", "v"], ["bn"], name="bn")
    addition = node_of(model, "layer1.1.add")
    addition.input[0] = "bn"
    model.graph.node.insert(list(model.graph.node).index(addition), node)
    audit = _audited(model)
    assert "BatchNormalization 'bn' stands between" in _addition(audit, "layer1.1.add").reason
    assert [(f.kind, f.node) for f in audit.findings] == [("not folded", "layer1.1.conv3")]


def test_float_convolution_does_not_fuse_with_the_addition():
    model = int8_residual()
    bypass_pair(model, "layer1.1.conv3")
    assert "Conv 'layer1.1.conv3', whose result is added, does not read int8" in (
        _addition(_audited(model), "layer1.1.add").reason
    )


def test_pair_between_a_convolution_and_its_relu_is_stray():
    model = int8_residual()
    planted = add_pair(model, "layer1.1.relu")
    audit = _audited(model)
    (stray,) = audit.of_kind("stray pair")
    assert stray.node == planted
    assert stray.message == (
        "only Relu 'layer1.1.relu' reads it, in floating point; "
        "it keeps Conv 'layer1.1.conv1' from fusing with what follows"
    )
    assert ("layer1.1.conv1", "float") in [(r.tensor, r.to) for r in audit.reformats]
    assert "1 stray pair;" in audit.summary


def test_pair_on_the_result_of_the_network_is_stray():
    model = int8_residual()
    node_of(model, "fc").output[0] = "raw"
    model.graph.node.extend(pair_on(model, "raw", "raw", scale=0.1))
    model.graph.node[-1].output[0] = "logits"
    (stray,) = _audited(model).of_kind("stray pair")
    assert stray.node == "raw.quantize" and "the graph's output 'logits'" in stray.message


def test_quantising_twice_with_another_scale_is_stray_and_costs_a_reformat():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2", scale=0.07)
    audit = _audited(model)
    (stray,) = audit.of_kind("stray pair")
    assert "only quantised again, with another scale" in stray.message
    assert "quantised before with another scale" in [r.reason for r in audit.reformats]


def test_quantising_twice_with_one_scale_changes_nothing_and_is_no_finding():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2", scale=float(np.float32(4 / 127)))
    audit = _audited(model)
    assert audit.findings == () and len(audit.reformats) == 1


def test_second_scale_on_one_tensor_costs_a_reformat():
    model = int8_residual()
    bypass_pair(model, "layer2.0.downsample.0")
    add_pair(model, "layer2.0.downsample.0", scale=0.07)
    audit = _audited(model)
    assert [(r.tensor, r.to) for r in audit.reformats] == [("images", "int8"), ("layer1.1.relu_2", "int8")]


def test_max_pool_between_two_scales_costs_a_requantisation():
    model = int8_residual()
    set_constant(model, "other", np.float32(0.07))
    for node in model.graph.node:
        if node.name in ("relu.quantize", "relu.dequantize"):
            node.input[1] = "other"
    audit = _audited(model)
    (pool,) = (p for p in audit.pools if p.op_type == "MaxPool")
    assert pool.int8 and "scale 0.07 before it, 0.0314961 behind" in pool.reason
    assert "quantised before with another scale" in [r.reason for r in audit.reformats]


def test_max_pool_with_a_pair_behind_it_only_still_runs_in_int8():
    model = int8_residual()
    bypass_pair(model, "maxpool")
    audit = _audited(model)
    (pool,) = (p for p in audit.pools if p.op_type == "MaxPool")
    assert pool.int8 and "moves in front" in pool.reason and _layer(audit, "conv1").int8_out


def test_average_pool_in_float_is_said():
    model = int8_residual()
    bypass_pair(model, "avgpool")
    audit = _audited(model)
    (pool,) = (p for p in audit.pools if p.op_type == "GlobalAveragePool")
    assert not pool.int8 and pool.reason == "its input is read in floating point"
    assert not _layer(audit, "layer2.0.conv3").int8_out


def test_quantised_bias_is_said_but_does_not_fail():
    model = int8_residual()
    set_constant(model, "bias", np.zeros(4, np.int32))
    set_constant(model, "bias.scale", np.full(4, 1e-4, np.float32))
    node = helper.make_node("DequantizeLinear", ["bias", "bias.scale"], ["bias.dq"], name="bias.dequantize", axis=0)
    model.graph.node.insert(0, node)
    node_of(model, "layer1.1.conv2").input[2] = "bias.dq"
    audit = _audited(model)
    assert audit.passed and [(f.kind, f.node) for f in audit.findings] == [("quantised bias", "layer1.1.conv2")]


@pytest.mark.parametrize(("zero_point", "kind"), [(0, "type"), (128, "refused")])
def test_unsigned_activations_fail(zero_point, kind):
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    set_constant(model, "layer1.1.relu.dq.planted.zero", np.uint8(zero_point))
    audit = _audited(model)
    assert [layer.node for layer in audit.failed_layers] == ["layer1.1.conv2"]
    assert len(audit.of_kind(kind)) == 1


def test_missing_zero_point_is_said():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    for name in ("quantize", "dequantize"):
        del node_of(model, f"layer1.1.relu.dq.planted.{name}").input[2]
    (finding,) = _audited(model).of_kind("type")
    assert "has no zero point: ONNX then means UINT8" in finding.message


def test_scale_that_is_computed_is_refused():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    base = "layer1.1.relu.dq.planted"
    model.graph.node.insert(0, helper.make_node("Sqrt", [f"{base}.scale"], ["computed"], name="sqrt"))
    for name in ("quantize", "dequantize"):
        node_of(model, f"{base}.{name}").input[1] = "computed"
    (refused,) = _audited(model).of_kind("refused")
    assert "the scale is computed in the graph" in refused.message


def test_pair_whose_halves_disagree_is_refused():
    model = int8_residual()
    add_pair(model, "layer1.1.conv2")
    base = "layer1.1.relu.dq.planted"
    set_constant(model, "other", np.float32(0.3))
    node_of(model, f"{base}.dequantize").input[1] = "other"
    (refused,) = _audited(model).of_kind("refused")
    assert refused.message == f"{base}.quantize and {base}.dequantize have different scales or zero points"


def test_fp8_file_is_read_as_what_it_is():
    """The same graph with E4M3 zero points and weights; only types and words differ."""
    model = int8_residual()
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            tensor.CopyFrom(
                helper.make_tensor(tensor.name, TensorProto.FLOAT8E4M3FN, list(tensor.dims), [0.0] * _size(tensor))
            )
    audit = _audited(model)
    assert audit.passed and audit.precision == "fp8"
    assert audit.summary.startswith("12 of 12 convolutions fp8 in, 12 fp8 out")
    assert [(r.tensor, r.to) for r in audit.reformats] == [("images", "fp8")]


def test_int8_activation_with_an_fp8_weight_fails():
    model = int8_residual()
    for name in ("layer1.1.conv2.weight.int8", "layer1.1.conv2.weight.zero_point"):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, list(tensor.dims), [0.0] * _size(tensor)))
    (failed,) = _audited(model).failed_layers
    assert failed.problems == ("its activation is int8, its weight fp8",)
