from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.bn_statistics import recompute_bn_statistics
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net


def images(count: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return x * torch.linspace(0.5, 2, count)[:, None, None, None] + 3  # batches differ in mean and spread


def first_layer_moments(net: nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Oracle: mean and unbiased variance of the stem's output over all images at once, in float64."""
    y = nn.functional.conv2d(x.double(), net.conv1.weight.double(), padding=1).detach().numpy()
    return y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3), ddof=1)


@pytest.mark.parametrize("sizes", [(10,), (5, 5), (7, 3), (1, 9)])
def test_statistics_are_those_of_all_images_whatever_the_batches(sizes):
    net, x = fresh_net(find_net("resnet8")), images(10)
    assert recompute_bn_statistics(net, x.split(sizes)) == 10
    mean, variance = first_layer_moments(net, x)
    # float32 convolutions of 27 terms and float32 batch means: a few units of 2^-24 of the largest value met
    scale = float(np.abs(mean).max() + variance.max() ** 0.5)
    np.testing.assert_allclose(net.bn1.running_mean.numpy(), mean, rtol=0, atol=32 * 2.0**-24 * scale)
    np.testing.assert_allclose(net.bn1.running_var.numpy(), variance, rtol=64 * 2.0**-24)


def test_an_average_of_the_batches_variances_would_not_pass():
    """The planted fault: torch.optim.swa_utils.update_bn's rule loses the spread between batches."""
    net, x = build_net(find_net("resnet8")), images(10)
    net.bn1.momentum = None
    for part in x.split((7, 3)):
        net.train()(part)
    _, variance = first_layer_moments(net, x)
    assert np.abs(net.bn1.running_var.detach().numpy() / variance - 1).max() > 0.01


def test_one_batch_equals_torchs_own_statistics():
    x = images(6)
    net, other = fresh_net(find_net("resnet8")), fresh_net(find_net("resnet8"))
    recompute_bn_statistics(net, [x])
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    other.train()(x)
    for key, value in other.state_dict().items():
        if "running" in key:  # the variance goes through float64 and back, times (n - 1) / (n - 1)
            torch.testing.assert_close(net.state_dict()[key], value, rtol=2.0**-22, atol=0)


def test_modes_momenta_and_weights_are_as_before():
    net = fresh_net(find_net("resnet8"))
    net.layer2.train()
    net.bn1.momentum = 0.3
    before = {name: module.training for name, module in net.named_modules()}
    weights = {name: value.clone() for name, value in net.named_parameters()}
    recompute_bn_statistics(net, [images(4)])
    assert {name: module.training for name, module in net.named_modules()} == before
    assert net.bn1.momentum == 0.3 and net.layer1[0].bn1.momentum == 0.1
    assert all(torch.equal(value, weights[name]) for name, value in net.named_parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_after_an_error_the_statistics_are_the_old_ones():
    net = fresh_net(find_net("resnet8"))
    before = {name: value.clone() for name, value in net.named_buffers()}

    def broken():
        yield images(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recompute_bn_statistics(net, broken())
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert not net.training and not net.bn1._forward_hooks


def test_no_images_and_no_batch_norm_are_refused():
    with pytest.raises(ConfigError, match="no images"):
        recompute_bn_statistics(fresh_net(find_net("resnet8")), [])
    with pytest.raises(ConfigError, match="no batch norm"):
        recompute_bn_statistics(nn.Conv2d(3, 4, 1), [images(2)])
