from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.shortcuts import ZeroPadShortcut, make_shortcut


@pytest.mark.parametrize("in_channels, out_channels, stride", [(16, 32, 2), (64, 256, 1), (5, 8, 2)])
def test_option_a_is_subsampling_and_zero_channels(in_channels, out_channels, stride):
    x = torch.randn(2, in_channels, 9, 8)
    shortcut = make_shortcut("A", in_channels, out_channels, stride=stride)
    y = shortcut(x)
    first = (out_channels - in_channels) // 2
    assert torch.equal(y[:, first : first + in_channels], x[:, :, ::stride, ::stride])
    assert not y[:, :first].any() and not y[:, first + in_channels :].any()
    assert y.shape[1] == out_channels and not list(shortcut.parameters())


def test_option_a_does_not_shrink():
    with pytest.raises(ValueError, match="can not shrink 32 channels to 16"):
        ZeroPadShortcut(32, 16, stride=2)


def test_only_option_c_projects_where_shapes_agree():
    assert [make_shortcut(option, 16, 16, stride=1) is None for option in ("A", "B", "C", "none")] == [
        True,
        True,
        False,
        True,
    ]
    assert make_shortcut("none", 16, 32, stride=2) is None
    projection = make_shortcut("B", 16, 32, stride=2)
    assert [type(module) for module in projection] == [nn.Conv2d, nn.BatchNorm2d]
    assert projection(torch.randn(1, 16, 8, 8)).shape == (1, 32, 4, 4)
    with pytest.raises(ValueError, match="'D', expected one of A, B, C, none"):
        make_shortcut("D", 16, 32, stride=2)


@pytest.mark.parametrize(
    "name, projections",
    [
        ("resnet34-a", 0),
        ("resnet34", 3),
        ("resnet34-c", 16),  # "thirteen extra projection shortcuts", section 4.1
        ("resnet50-a", 0),
        ("resnet50", 4),
        ("resnet50-c", 16),
        ("resnet20", 0),
        ("resnet20-b", 2),
        ("resnet20-c", 9),
        ("plain34", 0),
    ],
)
def test_projections_of_each_option(name, projections):
    with torch.device("meta"):
        net = build_net(find_net(name))
    assert sum(key.endswith("downsample.0.weight") for key in net.state_dict()) == projections
