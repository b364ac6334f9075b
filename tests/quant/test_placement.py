from __future__ import annotations

import onnx
import pytest
from onnx import helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.quant.placement import find_placement
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


def _reads(placement, node: str) -> list[tuple[int, str, str]]:
    return [(r.position, r.tensor, r.scale_of) for r in placement.reads if r.node == node]


def _node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_every_conv_and_gemm_reads_int8_activation_and_weight(make):
    model = make()
    placement = find_placement(model)
    products = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    assert [w.node for w in placement.weights] == [n.name for n in products]
    assert all(w.axis == 0 for w in placement.weights)
    for node in products:
        assert _reads(placement, node.name) == [(0, node.input[0], node.input[0])]
    assert placement.refusals == ()
    assert "logits" not in placement.tensors


def test_identity_shortcut_shares_the_pair_of_the_first_convolution():
    placement = find_placement(bottleneck_onnx())
    assert _reads(placement, "layer1.1.add") == [(1, "layer1.0.relu_2", "layer1.0.relu_2")]
    assert _reads(placement, "layer1.1.conv1") == [(0, "layer1.0.relu_2", "layer1.0.relu_2")]


@pytest.mark.parametrize("block", ["layer1.0", "layer2.0"])
def test_projection_gets_a_pair_on_its_output_and_the_main_path_none(block):
    placement = find_placement(bottleneck_onnx())
    projection = f"{block}.downsample.0"
    assert _reads(placement, f"{block}.add") == [(1, projection, projection)]
    assert not any(r.tensor == f"{block}.conv3" for r in placement.reads)


def test_swapped_addends_are_told_apart():
    """The shortcut is found by the data flow, not by its place in the addition."""
    model = bottleneck_onnx()
    for name in ("layer1.1.add", "layer2.0.add"):
        node = _node(model, name)
        node.input[0], node.input[1] = node.input[1], node.input[0]
    placement = find_placement(model)
    assert _reads(placement, "layer1.1.add") == [(0, "layer1.0.relu_2", "layer1.0.relu_2")]
    assert _reads(placement, "layer2.0.add") == [(0, "layer2.0.downsample.0", "layer2.0.downsample.0")]


def test_option_a_shortcut_reads_the_shared_pair_and_repeats_its_scale():
    model = resnet8_onnx()
    placement = find_placement(model)
    source = _node(model, "layer2.0.conv1").input[0]
    assert _reads(placement, "layer2.0.downsample.slice") == [(0, source, source)]
    assert _reads(placement, "layer2.0.add") == [(1, "layer2.0.downsample.pad", source)]


def test_option_a_with_another_fill_value_is_refused():
    model = resnet8_onnx()
    model.graph.initializer.append(helper.make_tensor("fill", onnx.TensorProto.FLOAT, [], [1.0]))
    _node(model, "layer2.0.downsample.pad").input.append("fill")
    (refusal,) = find_placement(model).refusals
    assert (refusal.node, refusal.tensor) == ("layer2.0.add", "layer2.0.downsample.pad")
    assert "Pad" in refusal.reason


def test_max_pool_has_one_scale_before_and_behind():
    placement = find_placement(bottleneck_onnx())
    assert _reads(placement, "maxpool") == [(0, "relu", "maxpool")]
    assert _reads(placement, "layer1.0.conv1") == [(0, "maxpool", "maxpool")]
    assert "relu" not in placement.tensors


def test_global_average_pool_and_classifier():
    placement = find_placement(bottleneck_onnx())
    assert _reads(placement, "avgpool") == [(0, "layer4.0.relu_2", "layer4.0.relu_2")]
    assert _reads(placement, "fc") == [(0, "flatten", "flatten")]


def test_addition_of_equals_is_refused_with_the_reason():
    model = bottleneck_onnx()
    node = _node(model, "layer1.1.add")
    node.input[1] = node.input[0]
    (refusal,) = find_placement(model).refusals
    assert refusal.node == "layer1.1.add" and "none is the shortcut" in refusal.reason


def test_weight_that_is_computed_is_refused():
    model = resnet8_onnx()
    node = _node(model, "layer3.0.conv2")
    weight = node.input[1]
    model.graph.node.insert(0, helper.make_node("Identity", [weight], ["computed"], name="computed"))
    node = _node(model, "layer3.0.conv2")
    node.input[1] = "computed"
    placement = find_placement(model)
    assert [(r.node, r.tensor, r.reason) for r in placement.refusals] == [
        ("layer3.0.conv2", "computed", "the weight is not a constant")
    ]
    assert _reads(placement, "layer3.0.conv2") == []


def test_excluded_nodes_are_recorded():
    placement = find_placement(resnet8_onnx(), exclude=("conv1", "layer1.0.add"))
    assert [(r.node, r.reason) for r in placement.refusals] == [
        ("conv1", "excluded by name"),
        ("layer1.0.add", "excluded by name"),
    ]
    assert _reads(placement, "conv1") == _reads(placement, "layer1.0.add") == []


def test_wrong_requests():
    with pytest.raises(GraphError, match="'conv9'"):
        find_placement(resnet8_onnx(), exclude=("conv9",))
    with pytest.raises(GraphError, match="no rule would quantise node 'relu', so excluding it has no effect") as caught:
        find_placement(resnet8_onnx(), exclude=("relu",))
    assert "can be excluded: conv1, layer1.0.conv1" in caught.value.remedy and "relu" not in caught.value.remedy
    model = resnet8_onnx()
    products = tuple(n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm"))
    with pytest.raises(GraphError, match="nothing to quantise: 8 nodes refused, first 'conv1'"):
        find_placement(model, exclude=products)
    model.graph.node.append(helper.make_node("QuantizeLinear", ["logits"], ["q"], name="q"))
    with pytest.raises(GraphError, match="quantised already"):
        find_placement(model)


def test_a_tensor_kept_in_float_takes_all_its_readers_with_it_and_says_so():
    placement = find_placement(resnet8_onnx(), keep_float_tensors=("relu",))
    assert "relu" not in placement.tensors and not any(r.tensor == "relu" for r in placement.reads)
    assert {r.node: r.reason for r in placement.refusals} == {
        "layer1.0.conv1": "tensor 'relu' is kept in floating point",
        "layer1.0.add": "tensor 'relu' is kept in floating point",
    }
    assert all(w.node != "layer1.0.conv1" for w in placement.weights)


def test_a_tensor_that_is_never_rounded_can_not_be_kept():
    with pytest.raises(GraphError, match="no rule would quantise a tensor called 'logits'"):
        find_placement(resnet8_onnx(), keep_float_tensors=("logits",))
