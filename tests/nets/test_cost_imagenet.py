"""Counts of the ImageNet nets and VGG; literals computed from the paper's architecture apart from this code.

Option B at v1.5 and VGG also equal `num_params` of torchvision's weight enumerations.
"""

from __future__ import annotations

import pytest
import torch

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets import imagenet
from resnet_deploy.nets.blocks import BasicBlock, Bottleneck
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import module_cost, net_cost
from resnet_deploy.nets.shortcuts import projection_shortcut

PARAMETERS = {  # plain = A, B, C
    18: (11_515_688, 11_689_512, 12_043_816),
    34: (21_623_848, 21_797_672, 22_716_840),
    50: (22_780_456, 25_557_032, 40_128_552),
    101: (41_772_584, 44_549_160, 76_981_288),
    152: (57_416_232, 60_192_808, 107_335_720),
}
CONVS = {18: (17, 20, 25), 34: (33, 36, 49), 50: (49, 53, 65), 101: (100, 104, 133), 152: (151, 155, 201)}
MULTIPLY_ADDS = {  # (depth, variant): plain = A, B, C
    (18, None): (1_794_805_760, 1_814_073_344, 1_878_298_624),
    (34, None): (3_644_493_824, 3_663_761_408, 3_830_747_136),
    (50, "v1"): (3_498_311_680, 3_857_973_248, 6_324_224_000),
    (50, "v1.5"): (3_729_522_688, 4_089_184_256, 6_555_435_008),
    (101, "v1"): (7_210_532_864, 7_570_194_432, 13_530_300_416),
    (101, "v1.5"): (7_441_743_872, 7_801_405_440, 13_761_511_424),
    (152, "v1"): (10_922_754_048, 11_282_415_616, 20_736_376_832),
    (152, "v1.5"): (11_153_965_056, 11_513_626_624, 20_967_587_840),
}
FOLDED = {18: 11_684_712, 34: 21_789_160, 50: 25_530_472, 101: 44_496_488, 152: 60_117_096}
OUTPUTS = {18: 2_483_712, 34: 3_738_112, 50: 11_113_984, 101: 16_231_936, 152: 22_554_112}
STAGES = {  # option B: layer1 to layer4, fc
    18: (147_968, 525_568, 2_099_712, 8_393_728, 513_000),
    34: (221_952, 1_116_416, 6_822_400, 13_114_368, 513_000),
    50: (215_808, 1_219_584, 7_098_368, 14_964_736, 2_049_000),
    101: (215_808, 1_219_584, 26_090_496, 14_964_736, 2_049_000),
    152: (215_808, 2_339_840, 40_613_888, 14_964_736, 2_049_000),
}
SIDES = {  # (depth, side): option B, v1.5
    (18, 128): 592_695_296, (34, 128): 1_196_675_072, (50, 128): 1_336_623_104,
    (18, 160): 925_798_400, (34, 160): 1_869_516_800, (50, 160): 2_087_321_600,
    (18, 256): 2_369_245_184, (34, 256): 4_785_164_288, (50, 256): 5_340_348_416,
    (18, 288): 2_998_439_936, (34, 288): 6_056_087_552, (50, 288): 6_758_334_464,
    (50, 384): 12_013_223_936, (101, 384): 22_922_608_640, (152, 384): 33_831_993_344,
    (50, 480): 18_769_510_400, (101, 480): 35_815_424_000, (152, 480): 52_861_337_600,
    (50, 640): 33_366_425_600, (101, 640): 63_670_272_000, (152, 640): 93_974_118_400,
}  # fmt: skip
VGG = {  # parameters, multiply-adds, those of convolutions
    "vgg16": (138_357_544, 15_470_264_320, 15_346_630_656),
    "vgg16-bn": (138_365_992, 15_470_264_320, 15_346_630_656),
    "vgg19": (143_667_240, 19_632_062_464, 19_508_428_800),
    "vgg19-bn": (143_678_248, 19_632_062_464, 19_508_428_800),
}


def counted(depth, shortcut, variant):
    """The builder's net without memory; a plain one of 50 layers is in no table of the paper, but counts."""
    form = {} if variant is None else {"variant": variant}
    with torch.device("meta"):
        net = getattr(imagenet, f"resnet{depth}")(shortcut=shortcut, **form).eval()
        return module_cost(net, torch.empty(1, 3, 224, 224))


@pytest.mark.parametrize("depth, variant", MULTIPLY_ADDS)
def test_parameters_multiply_adds_and_convolutions_of_every_shortcut_option(depth, variant):
    options = (("none", 0), ("A", 0), ("B", 1), ("C", 2)) if depth < 101 else (("A", 0), ("B", 1), ("C", 2))
    for shortcut, column in options:
        cost = counted(depth, shortcut, variant)
        assert cost.parameters == PARAMETERS[depth][column]
        assert cost.multiply_adds == MULTIPLY_ADDS[depth, variant][column]
        assert cost.num_convs == CONVS[depth][column]
    assert CONVS[depth][0] + 1 == depth  # the paper's rule: weighted layers, projections not counted


@pytest.mark.parametrize("depth", FOLDED)
def test_stages_folded_parameters_and_outputs_of_option_b(depth):
    cost = net_cost(find_net(f"resnet{depth}"))
    assert cost.folded_parameters == FOLDED[depth]
    assert cost.conv_output_elements == OUTPUTS[depth]
    assert [stage.name for stage in cost.stages] == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert [stage.parameters for stage in cost.stages] == [9_536, *STAGES[depth]]
    assert sum(stage.multiply_adds for stage in cost.stages) == cost.multiply_adds
    assert sum(stage.num_convs for stage in cost.stages) == cost.num_convs


@pytest.mark.parametrize("depth, side", SIDES)
def test_multiply_adds_at_other_sides(depth, side):
    cost = net_cost(find_net(f"resnet{depth}"), size_px=side)
    assert cost.multiply_adds == SIDES[depth, side]
    assert cost.parameters == PARAMETERS[depth][1]


@pytest.mark.parametrize("name", VGG)
def test_vgg_counts_in_both_conventions(name):
    cost = net_cost(find_net(name))
    assert (cost.parameters, cost.multiply_adds, cost.conv_multiply_adds) == VGG[name]
    assert cost.multiply_adds - cost.conv_multiply_adds == 123_633_664
    assert cost.num_convs == int(name[3:5]) - 3
    assert [s.name for s in cost.stages] == ["conv1", "conv2", "conv3", "conv4", "conv5", "classifier"]
    assert sum(stage.parameters for stage in cost.stages) == cost.parameters
    plain = name.removesuffix("-bn")
    assert cost.folded_parameters == VGG[plain][0]  # its convolutions have biases without BN too


def test_resnet34_plain_is_18_percent_of_vgg19():
    share = net_cost(find_net("plain34")).multiply_adds / net_cost(find_net("vgg19")).multiply_adds
    assert f"{100 * share:.2f}" == "18.56"


def test_v1_caffe_costs_what_v1_costs():
    caffe, v1 = net_cost(find_net("resnet50-v1-caffe")), net_cost(find_net("resnet50-v1"))
    assert caffe == v1


def test_plain_nets_have_one_time_complexity_per_layer():
    """Rules (i) and (ii) of section 3.3: where the map halves the width doubles, so every 3x3 layer costs the same.

    The first one of a stage reads half the channels, and costs half.
    """
    layers = [layer for layer in net_cost(find_net("plain34")).layers if layer.name.startswith("layer")]
    for layer in layers:
        starts_stage = layer.name in ("layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1")
        assert layer.multiply_adds == 115_605_504 // (2 if starts_stage else 1)


def test_figure_5_blocks_have_similar_cost():
    """The basic block at 64 channels and the bottleneck at 256, both on 56 x 56 maps."""
    with torch.device("meta"):
        basic = module_cost(BasicBlock(64, 64, stride=1, shortcut=None), torch.empty(1, 64, 56, 56))
        bottleneck = module_cost(Bottleneck(256, 64, stride=1, shortcut=None), torch.empty(1, 256, 56, 56))
        projected = Bottleneck(256, 64, stride=1, shortcut=projection_shortcut(256, 256, stride=1))
    assert (basic.multiply_adds, bottleneck.multiply_adds) == (231_211_008, 218_365_952)
    weights = sum(p.numel() for p in projected.parameters() if p.ndim == 4)
    assert (weights, weights - 69_632) == (69_632 + 65_536, 65_536)  # "doubled": 1.94


def test_a_size_the_net_can_not_take_is_refused():
    with pytest.raises(ConfigError, match="vgg16 can not take an input of 20 x 20 px"):
        net_cost(find_net("vgg16"), size_px=20)


def test_counting_leaves_the_network_as_it_was():
    net = imagenet.resnet18(num_classes=3).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = net(image)
        module_cost(net, image)
        assert torch.equal(net(image), before)
