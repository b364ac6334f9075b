from __future__ import annotations

import onnx

from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.units import block_units, layer_units, placement_of, reader_groups
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


def _renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with node names that say nothing."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    return model


def test_blocks_are_named_as_the_network_names_them() -> None:
    blocks = block_units(bottleneck_onnx())
    assert list(blocks) == ["stem", "layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer4.0", "fc"]
    assert blocks["stem"] == ("conv1", "maxpool") and blocks["fc"] == ("avgpool", "fc")
    assert "layer2.0.downsample.0" in blocks["layer2.0"]


def test_blocks_of_a_foreign_graph_are_cut_at_the_residual_additions() -> None:
    for make in (resnet8_onnx, bottleneck_onnx):
        named, foreign = block_units(make()), block_units(_renamed(make()))
        assert [len(nodes) for nodes in foreign.values()] == [len(nodes) for nodes in named.values()]
        first, *inside, last = foreign
        assert (first, last) == ("stem", "fc") and all(name.startswith("Add_") for name in inside)


def test_a_network_without_shortcuts_has_layers_for_blocks() -> None:
    model = resnet8_onnx()
    for node in model.graph.node:
        if node.op_type == "Add":
            node.op_type = "Mul"
    blocks = block_units(_renamed(model))
    assert all(nodes == (name,) for name, nodes in blocks.items()) and len(blocks) == 9


def test_every_unit_together_is_the_whole_placement() -> None:
    model = resnet8_onnx()
    whole, units = find_placement(model), placement_of(model, layer_units(model))
    assert (units.reads, units.weights) == (whole.reads, whole.weights)


def test_the_reads_of_an_option_a_shortcut_belong_to_its_addition() -> None:
    model = resnet8_onnx()
    alone = placement_of(model, {"layer2.0.add"})
    assert alone.weights == () and {read.scale_of for read in alone.reads} == {"layer1.0.relu_1"}
    assert len(alone.reads) == 2  # before the slice and before the addition


def test_groups_hold_all_readers_of_a_tensor_the_pool_before_it_included() -> None:
    groups = reader_groups(bottleneck_onnx())
    assert groups["maxpool"] == ("maxpool", "layer1.0.conv1", "layer1.0.downsample.0")
    assert groups["layer1.0.relu_2"] == ("layer1.1.conv1", "layer1.1.add")


def test_excluding_a_group_leaves_its_tensor_unrounded() -> None:
    model = bottleneck_onnx()
    for tensor, nodes in reader_groups(model).items():
        assert tensor not in find_placement(model, exclude=nodes).tensors
        kept = find_placement(model, keep_float_tensors=(tensor,))
        assert tensor not in kept.tensors and {r.node for r in kept.refusals} == set(nodes)
