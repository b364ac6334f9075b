from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_deploy.bench.roofline.module_graph import operations_of_module, operations_of_net
from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost

NETS = ["resnet8", "resnet18", "resnet50", "resnet50-v1-caffe", "resnet34-c", "resnet34-a", "vgg16-bn", "plain20"]


@pytest.mark.parametrize("name", NETS)
def test_multiply_adds_and_folded_parameters_are_those_of_the_module(name: str) -> None:
    cost, graph = net_cost(find_net(name)), operations_of_net(name)
    assert sum(op.multiply_adds for op in graph.operations) == cost.multiply_adds
    assert sum(w.elements for op in graph.operations for w in op.weights) == cost.folded_parameters


@pytest.mark.parametrize("size", [32, 33, 47])
@pytest.mark.parametrize("ceil", [False, True])
def test_shapes_computed_by_hand_are_those_of_pytorch(size: int, ceil: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=1), nn.MaxPool2d(3, 2, padding=1, ceil_mode=ceil),
        nn.Conv2d(4, 6, 3, dilation=2), nn.AvgPool2d(2, ceil_mode=ceil), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    ).eval()  # fmt: skip
    x, expected = torch.zeros(1, 3, size, size), []
    for module in net:
        x = module(x)
        expected.append(x.numel())
    graph = operations_of_module(net.to("meta"), size_px=size)
    assert [op.value.elements for op in graph.operations] == expected


def test_a_strided_1x1_convolution_needs_a_quarter_of_its_input() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.Conv2d(8, 8, 3, stride=2, padding=1)).to("meta")
    first, second = operations_of_module(net, size_px=16).operations
    assert first.num_read == 3 * 8 * 8 and second.num_read is None


def test_an_image_that_is_too_small_and_an_unknown_operation_are_refused() -> None:
    with pytest.raises(ConfigError, match="vgg16 can not take an image of 8 x 8 px"):
        operations_of_net("vgg16", size_px=8)
    with pytest.raises(GraphError, match="Tanh"):
        operations_of_module(nn.Sequential(nn.Tanh()).to("meta"), size_px=8)
