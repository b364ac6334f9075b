"""Files that other tools quantised: ONNX Runtime's, made here, and the forms that PyTorch's quantisers export."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.graph.files import check_model
from resnet_deploy.quant.audit import audit_model
from tests.reference.qdq_graphs import bypass_pair, int8_residual, node_of, pair_on, residual_onnx, set_constant

RUNNER = CliRunner()
SYMMETRIC = {"ActivationSymmetric": True, "QuantizeBias": False}


class _TwoImages(CalibrationDataReader):
    def __init__(self) -> None:
        self.batches = iter(np.random.default_rng(0).standard_normal((2, 1, 3, 32, 32), dtype=np.float32))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


@pytest.fixture
def quantized(tmp_path):
    """ONNX Runtime's quantize_static on the small residual network."""

    def make(extra=None, **options) -> onnx.ModelProto:
        chosen = {"activation_type": QuantType.QInt8, "quant_format": QuantFormat.QDQ, "per_channel": True, **options}
        file = tmp_path / "onnxruntime.onnx"
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # its advice to run shape inference first
        try:
            quantize_static(residual_onnx(), str(file), _TwoImages(), extra_options=extra or {}, **chosen)
        finally:
            logging.disable(disabled)
        return onnx.load(file)

    return make


def test_onnxruntime_symmetric_per_channel_runs_in_int8_but_fuses_no_addition(quantized):
    audit = audit_model(quantized(SYMMETRIC))
    assert audit.passed
    assert audit.summary.startswith("12 of 12 convolutions int8 in, 12 int8 out; 1 of 1 matrix product int8 in; 0 of 3")
    assert all(layer.num_weight_scales > 1 for layer in audit.layers)
    # It puts pairs on both addends, and between a convolution and its Relu where it keeps the Relu.
    assert [a.reason.split(":")[0] for a in audit.additions] == ["both addends come out of pairs"] * 3
    assert "conv1_QuantizeLinear" in [f.node for f in audit.of_kind("stray pair")]
    assert len(audit.reformats) > 1


def test_onnxruntime_default_zero_points_fail(quantized):
    audit = audit_model(quantized())
    assert not audit.passed and len(audit.failed_layers) == len(audit.layers) == 13
    assert any("the zero point is -128" in f.message for f in audit.of_kind("refused"))
    assert len(audit.of_kind("quantised bias")) == 13


def test_onnxruntime_per_tensor_weights_are_said(quantized):
    audit = audit_model(quantized(SYMMETRIC, per_channel=False))
    assert audit.passed and len(audit.of_kind("per-tensor weight")) == 13
    assert {layer.num_weight_scales for layer in audit.layers} == {1}


def test_onnxruntime_unsigned_activations_fail(quantized):
    audit = audit_model(quantized(SYMMETRIC, activation_type=QuantType.QUInt8))
    assert not audit.passed
    assert {layer.activation for layer in audit.layers} == {"uint8"}
    assert not any(layer.int8_in for layer in audit.layers)


def test_onnxruntime_convolutions_only_leaves_the_classifier_float_on_purpose(quantized):
    audit = audit_model(quantized(SYMMETRIC, op_types_to_quantize=["Conv"]))
    classifier = audit.layers[-1]
    assert audit.passed and classifier.op_type == "Gemm"
    assert not classifier.int8_in and not classifier.is_meant


def test_operator_form_is_refused_with_the_way_out(quantized):
    audit = audit_model(quantized(quant_format=QuantFormat.QOperator))
    assert not audit.passed
    message = audit.of_kind("refused")[0].message
    assert "12 QLinearConv" in message and "QuantFormat.QDQ" in message


def _with_constant_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every initializer as a Constant node behind an Identity, and no node names, as torch.onnx.export writes them."""
    constants = []
    for tensor in model.graph.initializer:
        made = helper.make_node("Constant", [], [f"{tensor.name}_value"])
        made.attribute.append(helper.make_attribute("value", tensor))
        constants += [made, helper.make_node("Identity", [f"{tensor.name}_value"], [tensor.name])]
    del model.graph.initializer[:]
    nodes = [*constants, *model.graph.node]
    for node in nodes:
        node.name = ""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


def test_constants_in_nodes_and_nodes_without_names_are_the_same_graph():
    plain, wrapped = audit_model(int8_residual()), audit_model(_with_constant_nodes(int8_residual()))
    assert wrapped.passed and wrapped.summary == plain.summary
    assert len({layer.node for layer in wrapped.layers}) == 13


def test_planted_fault_is_found_in_that_form_too():
    model = int8_residual()
    bypass_pair(model, "layer1.1.conv2")
    assert len(audit_model(_with_constant_nodes(model)).failed_layers) == 1


def _with_linear_as_pytorch_quantizers_write_it(axis: int) -> onnx.ModelProto:
    """Weight [10, 32] float -> Q -> DQ -> Transpose -> MatMul -> Add bias, in place of the Gemm."""
    model = int8_residual()
    fc = node_of(model, "fc")
    source = fc.input[0]
    set_constant(model, "w", np.random.default_rng(0).standard_normal((10, 32), dtype=np.float32))
    set_constant(model, "w.scale", np.full((10, 32)[axis], 0.02, np.float32))
    set_constant(model, "w.zero", np.zeros((10, 32)[axis], np.int8))
    nodes = pair_on(model, "w", "weight", scale=0.02)
    for node in nodes:
        node.input[1], node.input[2] = "w.scale", "w.zero"
        node.attribute.append(helper.make_attribute("axis", axis))
    nodes.append(helper.make_node("Transpose", ["weight.dq"], ["w.t"], name="w.t", perm=[1, 0]))
    nodes.append(helper.make_node("MatMul", [source, "w.t"], ["product"], name="matmul"))
    nodes.append(helper.make_node("Add", ["product", "fc.bias"], ["logits"], name="bias"))
    model.graph.node.remove(fc)
    model.graph.node.extend(nodes)
    check_model(model, name="linear")
    return model


def test_linear_layer_as_transposed_matmul_is_read():
    audit = audit_model(_with_linear_as_pytorch_quantizers_write_it(0))
    layer = audit.layers[-1]
    assert audit.passed and layer.node == "matmul" and layer.int8_in and layer.num_weight_scales == 10
    assert len(audit.additions) == 3  # the bias is no residual addition
    assert audit.of_kind("stray pair") == ()


def test_linear_layer_with_scales_along_its_inputs_fails():
    (failed,) = audit_model(_with_linear_as_pytorch_quantizers_write_it(1)).failed_layers
    assert failed.problems == ("weight: scales along axis 0, the output channels are along axis 1",)


def test_weight_as_float_constant_through_a_pair_is_read():
    model = int8_residual()
    weight = next(t for t in residual_onnx().graph.initializer if t.name == "layer1.1.conv2.weight")
    set_constant(model, "float.weight", numpy_helper.to_array(weight))
    dequantize = node_of(model, "layer1.1.conv2.weight.dequantize")
    place = list(model.graph.node).index(dequantize)
    made = helper.make_node("QuantizeLinear", ["float.weight", *dequantize.input[1:]], ["float.int8"], name="q", axis=0)
    dequantize.input[0] = "float.int8"
    model.graph.node.insert(place, made)
    check_model(model, name="float weight")
    audit = audit_model(model)
    assert audit.passed and all(layer.int8_in for layer in audit.layers)


def test_casts_between_pair_and_layer_are_looked_through():
    """FP16 files of other tools quantise in FP32 and cast what comes out of the pair, or the weight."""
    model = int8_residual()
    for name, position in (("layer1.1.conv2", 0), ("layer1.1.conv2", 1), ("layer1.1.add", 1)):
        node = node_of(model, name)
        source, node.input[position] = node.input[position], f"{name}.{position}.cast"
        cast = helper.make_node("Cast", [source], [node.input[position]], name=node.input[position], to=1)
        model.graph.node.insert(list(model.graph.node).index(node), cast)
    check_model(model, name="casts")
    audit = audit_model(model)
    assert audit.passed and audit.summary == audit_model(int8_residual()).summary


def test_command_reads_weights_that_lie_beside_the_file(tmp_path):
    file = tmp_path / "outside.onnx"
    onnx.save(int8_residual(), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    result = RUNNER.invoke(app, ["audit", str(file)])
    assert result.exit_code == 0 and "12 of 12 convolutions int8 in" in result.stdout, result.output


@pytest.fixture
def faulty(tmp_path):
    """A file with one convolution whose pair was forgotten."""
    model = int8_residual()
    bypass_pair(model, "layer1.1.conv2")
    file = tmp_path / "faulty.onnx"
    onnx.save(model, file)
    return str(file)


def test_command_exits_1_and_names_the_layer(faulty):
    result = RUNNER.invoke(app, ["audit", faulty])
    assert result.exit_code == 1
    assert "11 of 12 convolutions int8 in" in result.stdout
    assert "1 layer has a quantised input but not all it takes to run in INT8: layer1.1.conv2" in result.stderr


def test_command_accepts_what_may_be_float(faulty):
    result = RUNNER.invoke(app, ["audit", faulty, "--float-ok", "layer1.1.conv2", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["passed"] is True and document["summary"].startswith("11 of 12")
    assert [layer["node"] for layer in document["layers"] if layer["accepted"]] == ["layer1.1.conv2"]


def test_command_shows_every_part_of_a_foreign_file(quantized, tmp_path):
    file = tmp_path / "foreign.onnx"
    onnx.save(quantized(SYMMETRIC), file)
    result = RUNNER.invoke(app, ["audit", str(file)])
    assert result.exit_code == 0, result.output
    for part in ("Layers of", "Residual additions", "Pools", "Findings", "Reformats expected", "stray pair"):
        assert part in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [(["absent.onnx"], "no such file"), (["{faulty}", "--float-ok", "conv9"], "no layer is called 'conv9'")],
)
def test_wrong_usage_is_one_message(faulty, words, message):
    result = RUNNER.invoke(app, ["audit", *(word.format(faulty=faulty) for word in words)])
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.stderr
