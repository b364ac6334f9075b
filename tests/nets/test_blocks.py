from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from resnet_deploy.nets.blocks import BasicBlock, Bottleneck, make_stage
from resnet_deploy.nets.catalogue import build_net, find_net, known_nets
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.imagenet import ImageNetResNet
from resnet_deploy.nets.shortcuts import make_shortcut


def set_to_zero(block):
    nn.init.zeros_(block.last_batch_norm.weight)
    nn.init.zeros_(block.last_batch_norm.bias)


def by_definition(block, x):
    """y = relu(F(x) + shortcut(x)), or relu(F(x)), written out with nothing in place."""
    y = functional.relu(block.bn1(block.conv1(x)))
    y = block.bn2(block.conv2(y))
    if isinstance(block, Bottleneck):
        y = block.bn3(block.conv3(functional.relu(y)))
    if not block.is_residual:
        return functional.relu(y)
    return functional.relu(y + (x if block.downsample is None else block.downsample(x)))


@pytest.mark.parametrize("option", ["A", "B", "C", "none"])
@pytest.mark.parametrize("kind, in_channels, stride", [(BasicBlock, 8, 2), (BasicBlock, 16, 1), (Bottleneck, 64, 1)])
def test_working_in_place_changes_neither_values_nor_gradients(kind, in_channels, stride, option):
    torch.manual_seed(0)
    shortcut = make_shortcut(option, in_channels, 16 * kind.expansion, stride=stride)
    block = kind(in_channels, 16, stride=stride, shortcut=shortcut, is_residual=option != "none")
    results = []
    for forward in (block, lambda x: by_definition(block, x)):
        x = torch.randn(2, in_channels, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        block.zero_grad()
        y = forward(x.relu())
        (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
        results.append([y, x.grad, *(p.grad.clone() for p in block.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_block_does_not_write_into_its_input():
    x = torch.randn(2, 16, 8, 8)
    before = x.clone()
    for residual in (True, False):
        BasicBlock(16, 16, stride=1, shortcut=None, is_residual=residual).eval()(x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("kind, channels", [(BasicBlock, 16), (Bottleneck, 64)])
def test_a_block_whose_branch_is_zero_is_the_identity_on_what_relu_gives(kind, channels):
    block = kind(channels, 16, stride=1, shortcut=None).eval()
    set_to_zero(block)
    x = torch.randn(2, channels, 8, 8).relu()
    assert torch.equal(block(x), x)
    plain = kind(channels, 16, stride=1, shortcut=None, is_residual=False).eval()
    set_to_zero(plain)
    assert not plain(x).any()  # a plain block has no such solution


def grown(net, gamma):
    """`net` with one more identity block in each stage, whose branch ends in that gamma and beta 0."""
    for stage in (getattr(net, f"layer{i}", None) for i in (1, 2, 3, 4)):
        if stage is not None:
            last = stage[-1]
            width, channels = last.conv1.out_channels, last.last_batch_norm.num_features
            block = type(last)(channels, width, stride=1, shortcut=None).eval()
            set_to_zero(block)
            nn.init.constant_(block.last_batch_norm.weight, gamma)
            stage.append(block)
    return net


@pytest.mark.parametrize("kind", ["cifar", "bottleneck"])
def test_a_deeper_net_made_of_identities_is_bit_equal_to_the_shallow_one(kind):
    """The construction of section 1: a deeper net need not be worse."""

    def make():
        torch.manual_seed(0)
        if kind == "cifar":
            return fresh_net(find_net("resnet8")), torch.randn(3, 3, 32, 32)
        net = ImageNetResNet(Bottleneck, (1, 1, 1, 1), num_classes=5).eval()
        return net, torch.randn(2, 3, 64, 64)

    with torch.no_grad():
        net, images = make()
        expected = net(images)
        assert torch.equal(grown(make()[0], gamma=0.0)(images), expected)
        assert not torch.equal(grown(make()[0], gamma=1.0)(images), expected)


def strides(variant):
    stage = make_stage(Bottleneck, 64, 16, 2, stride=2, shortcut="B", variant=variant)
    return [(block.conv1.stride[0], block.conv2.stride[0], block.conv3.stride[0]) for block in stage]


def test_the_variant_says_where_the_stride_is():
    assert strides("v1") == strides("v1-caffe") == [(2, 1, 1), (1, 1, 1)]
    assert strides("v1.5") == [(1, 2, 1), (1, 1, 1)]
    with pytest.raises(ValueError, match=r"'v2', expected one of v1, v1\.5, v1-caffe"):
        strides("v2")


def test_every_residual_branch_has_two_or_three_layers():
    """Section 3.2: one layer would be y = W1 x + x, for which no advantage was seen."""
    for spec in known_nets():
        if spec.architecture == "vgg" or spec.depth > 60:
            continue
        with torch.device("meta"):
            net = build_net(spec)
        blocks = [m for m in net.modules() if isinstance(m, (BasicBlock, Bottleneck))]
        depths = {sum(isinstance(child, nn.Conv2d) for child in block.children()) for block in blocks}
        assert depths == ({3} if spec.variant.startswith("v1") else {2})
        assert {block.is_residual for block in blocks} == {spec.architecture == "resnet"}
