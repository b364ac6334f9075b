"""Counts come from the paper's architecture, computed independently of this code; see the docstrings."""

import pytest
import torch
from torch import nn

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.blocks import BasicBlock, Bottleneck, ZeroPadShortcut
from resnet_deploy.nets.catalogue import build_net, find_net, known_nets, net_of_depth
from resnet_deploy.nets.cost import module_cost, net_cost

IMAGENET = {  # option B, v1.5: torchvision's num_params, and multiply-adds at 224 px
    18: (11_689_512, 1_814_073_344, 20),
    34: (21_797_672, 3_663_761_408, 36),
    50: (25_557_032, 4_089_184_256, 53),
    101: (44_549_160, 7_801_405_440, 104),
    152: (60_192_808, 11_513_626_624, 155),
}
IMAGENET_OUTPUTS = {18: 2_483_712, 34: 3_738_112, 50: 11_113_984, 101: 16_231_936, 152: 22_554_112}
CIFAR = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18, 1202: 200}
CIFAR_OUTPUTS = {20: 188_416, 32: 303_104, 44: 417_792, 56: 532_480, 110: 1_048_576}


@pytest.mark.parametrize("depth", IMAGENET)
def test_imagenet_counts(depth):
    parameters, multiply_adds, num_convs = IMAGENET[depth]
    cost = net_cost(net_of_depth(depth))
    assert (cost.parameters, cost.multiply_adds) == (parameters, multiply_adds)
    convs = [layer for layer in cost.layers if layer.name != "fc"]
    assert len(convs) == num_convs
    assert sum(layer.output_elements for layer in convs) == IMAGENET_OUTPUTS[depth]


@pytest.mark.parametrize("side, multiply_adds", [(128, 1_336_623_104), (160, 2_087_321_600), (288, 6_758_334_464)])
def test_resnet50_multiply_adds_at_other_sizes(side, multiply_adds):
    with torch.device("meta"):
        net = build_net(net_of_depth(50)).eval()
        assert module_cost(net, torch.empty(1, 3, side, side)).multiply_adds == multiply_adds


@pytest.mark.parametrize("depth, n", CIFAR.items())
def test_cifar_counts_follow_the_closed_form(depth, n):
    """params = 97,216 n - 21,926 and multiply-adds = 14,155,776 n - 1,916,288 for option A at 32 px."""
    cost = net_cost(find_net(f"resnet{depth}"))
    assert (cost.parameters, cost.multiply_adds) == (97_216 * n - 21_926, 14_155_776 * n - 1_916_288)
    assert len(cost.layers) == 6 * n + 2
    if depth in CIFAR_OUTPUTS:
        assert sum(layer.output_elements for layer in cost.layers[:-1]) == CIFAR_OUTPUTS[depth]


def test_stage_parameters_of_resnet50():
    net = build_net(net_of_depth(50))
    stages = [sum(p.numel() for p in getattr(net, f"layer{i}").parameters()) for i in (1, 2, 3, 4)]
    assert stages == [215_808, 1_219_584, 7_098_368, 14_964_736]
    assert sum(p.numel() for p in net.fc.parameters()) == 2_049_000


def test_state_dict_keys_are_torchvisions():
    keys = build_net(net_of_depth(50)).state_dict().keys()
    for key in (
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer4.2.conv3.weight",
        "layer4.2.bn3.num_batches_tracked",
        "fc.bias",
    ):
        assert key in keys
    assert len(keys) == 320  # torchvision.models.resnet50().state_dict()


def test_figure_5_blocks_have_similar_cost():
    """The basic block at 64 channels and the bottleneck at 256, both on 56 x 56 maps."""
    with torch.device("meta"):
        basic = module_cost(BasicBlock(64, 64, stride=1, shortcut=None), torch.empty(1, 64, 56, 56))
        bottleneck = module_cost(Bottleneck(256, 64, stride=1, shortcut=None), torch.empty(1, 256, 56, 56))
    assert basic.multiply_adds == 231_211_008
    assert bottleneck.multiply_adds == 218_365_952


def test_option_a_is_subsampling_and_zero_channels():
    x = torch.randn(2, 16, 8, 8)
    y = ZeroPadShortcut(16, 32, stride=2)(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()
    assert not list(ZeroPadShortcut(16, 32, stride=2).parameters())


def test_a_block_whose_branch_is_zero_is_the_identity_on_what_relu_gives():
    block = BasicBlock(16, 16, stride=1, shortcut=None).eval()
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(block.bn2.bias)
    x = torch.randn(2, 16, 8, 8).relu()
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_forward_shape_and_class_count(name):
    spec = find_net(name)
    net = build_net(spec, num_classes=7).eval()
    with torch.no_grad():
        assert net(torch.randn(2, *spec.preprocess.input_shape)).shape == (2, 7)


def test_maps_halve_and_widths_double():
    """Design rules (i) and (ii) of section 3.3: 56, 28, 14, 7 and 64, 128, 256, 512."""
    net, shapes = build_net(net_of_depth(34)).eval(), []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        stage.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:3])))
    with torch.no_grad():
        net(torch.zeros(1, 3, 224, 224))
    assert shapes == [(64, 56), (128, 28), (256, 14), (512, 7)]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ConfigError, match="unknown depth 19") as caught:
        net_of_depth(19)
    assert "18, 34, 50, 101, 152" in str(caught.value)
    with pytest.raises(ConfigError, match=r"'resent50' \(did you mean 'resnet50'\?\)"):
        find_net("resent50")
    with pytest.raises(ConfigError, match="unknown net 'resnet21'"):
        find_net("resnet21")
    assert find_net("resnet26").depth == 26  # 6n+2 with n = 4


def test_the_catalogue_prints_the_papers_errors():
    errors = {spec.name: spec.paper_error_percent for spec in known_nets()}
    assert (errors["resnet50"], errors["resnet152"], errors["resnet20"]) == (22.85, 21.43, 8.75)
