"""What an engine does against what its ONNX file asks, with faults planted in the engine."""

from __future__ import annotations

import json

import pytest

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.inspection.layer_json import layers_from_json
from resnet_deploy.pipeline.realised import compare_precision
from resnet_deploy.pipeline.realised_result import Realised
from tests.reference.layer_files import Row, document_10x, document_11x, residual_rows
from tests.reference.qdq_graphs import bypass_pair, int8_residual, residual_onnx
from tests.reference.small_networks import copy_of, make_table, quantize_model

BOTH = pytest.mark.parametrize("make", [document_10x, document_11x])


def _layers(make, rows: list[Row]):
    return layers_from_json(json.dumps(make(rows)), source="layers.json")


def _realised(make, *, model=None, **faults) -> Realised:
    return compare_precision(model or int8_residual(), _layers(make, residual_rows(**faults)))


@BOTH
def test_an_engine_that_does_what_was_asked_passes(make) -> None:
    found = _realised(make)
    assert found and found.passed_strictly and not found.is_expectation
    assert (found.asked, len(found.layers), found.source) == ("int8", 13, "layers.json")
    assert [addition.fused for addition in found.additions] == [True] * 3
    assert [addition.position for addition in found.additions] == [5, 8, 12]
    assert found.summary.startswith(
        "12 of 12 convolutions asked in int8, 12 run in it; 1 of 1 matrix product asked in int8, 1 runs in it; "
        "12 results asked in int8, 12 int8 written; 3 residual additions asked to fuse, 3 fused; "
    )
    assert next(layer for layer in found.layers if layer.node == "layer1.0.conv3").fused == (
        "layer1.0.conv3.weight.dequantize",
        "layer1.0.add",
        "layer1.0.relu_2",
    )


@BOTH
def test_a_convolution_that_runs_in_float_is_named_and_fails(make) -> None:
    found = _realised(make, floats=("layer1.0.conv2",))
    assert not found and [layer.node for layer in found.missed] == ["layer1.0.conv2"]
    assert found.missed[0].reason.startswith("the engine reads it in fp16")
    assert "12 of 12 convolutions asked in int8, 11 run in it" in found.summary
    types = [(conversion.reads, conversion.writes) for conversion in found.conversions if conversion.changes_type]
    assert types == [("fp32", "int8"), ("int8", "fp16"), ("fp16", "int8")]
    # in front of the fourth convolution and behind it: conv1, layer1.0.conv1, then this one
    assert [conversion.position for conversion in found.conversions] == [0, 2, 3]


def test_a_layer_may_be_accepted_in_float(make=document_10x) -> None:
    layers = _layers(make, residual_rows(floats=("conv1",)))
    assert compare_precision(int8_residual(), layers, float_ok=("conv1",)).passed
    with pytest.raises(GraphError, match="no layer is called 'conv9'"):
        compare_precision(int8_residual(), layers, float_ok=("conv9",))


@BOTH
def test_a_result_in_float_and_an_addition_alone_fail_where_it_is_strict(make) -> None:
    found = _realised(make, wide=("layer2.0.conv1",), alone=("layer1.1",))
    assert found.passed and not found.passed_strictly
    assert [layer.node for layer in found.widened] == ["layer2.0.conv1"]
    assert [(addition.node, addition.fused) for addition in found.alone] == [("layer1.1.add", False)]
    assert "11 int8, 1 fp32 written" in found.summary and "asked to fuse, 2 fused" in found.summary


def test_a_layer_that_the_engine_does_not_name_is_missed() -> None:
    rows = [row for row in residual_rows() if "layer1.1.conv1" not in row.nodes]
    found = compare_precision(int8_residual(), _layers(document_10x, rows))
    assert [layer.reason for layer in found.missed] == ["no convolution or matrix product of the engine names it"]


def test_a_weight_in_float_is_missed_though_the_activation_is_int8() -> None:
    document = document_10x(residual_rows())
    layer = next(layer for layer in document["Layers"] if "layer1.0.conv1" in layer["Name"])
    layer["Weights"]["Type"] = "Half"
    found = compare_precision(int8_residual(), layers_from_json(json.dumps(document), source="x"))
    assert [layer.reason for layer in found.missed] == ["its weight is kept in fp16: only the activation is int8"]


def test_layers_of_another_network_are_refused() -> None:
    with pytest.raises(GraphError, match=r"none of its 1 layers names one of the graph's, e\.g\. 'conv1'"):
        compare_precision(int8_residual(), _layers(document_10x, [Row(["other"], "int8", "int8")]))


def test_bytes_are_told_for_the_batch_of_the_engine() -> None:
    rows = [Row(["conv1"], "int8", "int8")]
    found = compare_precision(int8_residual(), _layers(document_11x, rows))
    assert (found.batch, found.moved_bytes) == (1, 2 * 8 * 16 * 16)
    document = document_10x(rows)
    for tensor in (*document["Layers"][0]["Inputs"], *document["Layers"][0]["Outputs"]):
        tensor["Dimensions"] = [4, 8, 16, 16]
    found = compare_precision(int8_residual(), layers_from_json(json.dumps(document), source="x"))
    assert (found.batch, found.moved_bytes) == (4, 4 * 2 * 8 * 16 * 16)


def test_a_float_file_asks_for_its_own_type_everywhere() -> None:
    wide = [Row([name.name], "fp32", "fp32") for name in residual_onnx().graph.node if name.op_type in ("Conv", "Gemm")]
    document = document_11x(wide)
    found = compare_precision(residual_onnx(), layers_from_json(json.dumps(document), source="x"))
    assert found.passed_strictly and found.asked == "fp32" and not found.widened
    document["Layers"][3]["Inputs"][0]["DataType"] = "Half"
    found = compare_precision(residual_onnx(), layers_from_json(json.dumps(document), source="x"))
    assert [layer.reason for layer in found.missed] == ["the engine reads it in fp16"]


def test_tf32_is_told() -> None:
    rows = [Row([node.name], "fp32", "fp32") for node in residual_onnx().graph.node if node.op_type in ("Conv", "Gemm")]
    document = document_11x(rows)
    document["Layers"][0]["TacticName"] = "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc"
    found = compare_precision(residual_onnx(), layers_from_json(json.dumps(document), source="x"))
    assert found.tf32 == ("conv1_myl0_0",)


def test_layers_that_the_file_leaves_in_float_are_free() -> None:
    model = quantize_model(
        residual_onnx(), make_table(residual_onnx()), float_precision=Precision.FP16, exclude=("conv1",)
    )[0]
    found = compare_precision(model, _layers(document_10x, residual_rows(floats=("conv1",))))
    assert found.passed and found.layers[0].asked_in == ""
    assert "11 of 12 convolutions asked in int8, 11 run in it" in found.summary


def test_without_an_engine_the_request_alone_is_told() -> None:
    found = compare_precision(int8_residual(), None)
    assert found.is_expectation and found.passed_strictly and found.num_kernels == 0
    assert found.summary == (
        "12 of 12 convolutions asked in int8; 1 of 1 matrix product asked in int8; 12 results asked in int8; "
        "3 residual additions asked to fuse"
    )


def test_a_request_that_can_not_be_met_fails_without_an_engine() -> None:
    model = copy_of(int8_residual())
    bypass_pair(model, "layer1.0.conv2")
    found = compare_precision(model, None)
    assert not found and "is read in floating point" in found.missed[0].reason
