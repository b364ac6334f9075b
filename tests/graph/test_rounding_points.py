from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.rounding_points import find_rounded_activations, find_rounded_weights
from resnet_deploy.quant.placement import find_placement
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx


def int8_of(model: onnx.ModelProto, precision: Precision = Precision.FP16) -> onnx.ModelProto:
    return quantize_model(model, make_table(model), float_precision=precision)[0]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_what_quantize_placed_is_what_is_found(make, precision):
    model = make()
    placement, int8 = find_placement(model), int8_of(model, precision)
    found = find_rounded_activations(int8.graph)
    assert {name for rounding in found for name in rounding.tensors} == {read.tensor for read in placement.reads}
    expected = [(use.node, use.position, f"{use.weight}.int8", use.axis) for use in placement.weights]
    assert sorted(w[:3] + (w.axis,) for w in find_rounded_weights(int8.graph)) == sorted(expected)


def test_pairs_that_have_to_share_a_scale_are_one_although_all_tensors_have_the_same_range():
    model = bottleneck_onnx()
    placement = find_placement(model)
    found = find_rounded_activations(int8_of(model).graph)
    assert len(found) == len(placement.tensors)  # as many as there are scales, although all are equal here
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    assert (pool.input[0], pool.output[0]) in [rounding.tensors for rounding in found]
    shortcut_a = find_rounded_activations(int8_of(resnet8_onnx()).graph)
    assert len(shortcut_a) == len(find_placement(resnet8_onnx()).tensors)
    assert sum(len(rounding.tensors) == 2 for rounding in shortcut_a) == 2  # resnet8 has two shortcuts of option A


def test_the_scale_of_the_input_is_found_in_both_types():
    rounding = find_rounded_activations(int8_of(resnet8_onnx()).graph)[0]
    assert rounding.tensors == ("images",)
    assert set(rounding.scales) == {"images.scale.fp32", "images.scale"}


def change(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    initializer = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    initializer.CopyFrom(numpy_helper.from_array(values, name))


def test_a_pair_of_two_scales_is_refused():
    model = int8_of(resnet8_onnx())
    change(model, "images.scale", np.array(0.5, np.float16))
    with pytest.raises(GraphError, match=r"pair of node 'images\.quantize' has the scales .*0\.5"):
        find_rounded_activations(model.graph)


@pytest.mark.parametrize(
    ("zero_point", "message"),
    [
        (np.array(0, np.uint8), "rounds to uint8, expected int8"),
        (np.array(3, np.int8), "zero point other than 0"),
    ],
)
def test_rounding_that_is_not_symmetric_int8_is_refused(zero_point, message):
    model = int8_of(resnet8_onnx())
    change(model, "zero_point", zero_point)
    with pytest.raises(GraphError, match=message):
        find_rounded_activations(model.graph)


def test_a_pair_without_a_zero_point_is_refused_as_onnx_means_uint8_by_it():
    model = int8_of(resnet8_onnx())
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    del quantize.input[2:]
    with pytest.raises(GraphError, match=f"node '{quantize.name}' has no constant zero point"):
        find_rounded_activations(model.graph)


def test_integers_that_are_computed_with_are_refused():
    model = int8_of(resnet8_onnx())
    cast = helper.make_node("Cast", ["images.int8"], ["wide"], name="cast", to=TensorProto.FLOAT)
    model.graph.node.append(cast)
    with pytest.raises(GraphError, match=r"'images\.quantize' is read by something else"):
        find_rounded_activations(model.graph)
