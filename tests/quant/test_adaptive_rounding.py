"""Adaptive rounding: closer outputs than rounding to nearest, on the inputs it was made for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resnet_deploy.quant.adaptive_rounding import input_moments, round_with_compensation


def _correlated(size, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64) * 0.3 + 1
    return (mixing @ torch.randn(size, count, generator=generator, dtype=torch.float64)).relu()


def _weights(rows, size, seed=1):
    weight = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * 0.1
    return weight, weight.abs().amax(1) / 127


@pytest.mark.parametrize("size", [9, 150, 300])  # below, above and twice the block of columns
def test_outputs_are_closer_than_with_rounding_to_nearest(size):
    inputs = _correlated(size, 4 * size)
    weight, scale = _weights(6, size)
    rounded = round_with_compensation(weight, inputs @ inputs.T / inputs.shape[1], scale)
    assert torch.equal(rounded, rounded.round())
    assert rounded.abs().max() <= 127
    nearest = (weight / scale[:, None]).round()
    errors = [((q * scale[:, None] - weight).double() @ inputs).square().sum(1) for q in (rounded, nearest)]
    assert (errors[0] <= errors[1]).all()
    assert errors[0].sum() < 0.6 * errors[1].sum()


def test_inputs_without_correlation_leave_the_nearest_values():
    weight, scale = _weights(4, 20)
    rounded = round_with_compensation(weight, torch.eye(20, dtype=torch.float64), scale)
    assert torch.equal(rounded, (weight / scale[:, None]).round())


def test_inputs_that_are_always_zero_leave_the_nearest_values():
    weight, scale = _weights(4, 20)
    rounded = round_with_compensation(weight, torch.zeros(20, 20, dtype=torch.float64), scale)
    assert torch.equal(rounded, (weight / scale[:, None]).round())


@pytest.mark.parametrize("stride", [1, 2])
def test_moments_of_a_convolution_give_the_energy_of_its_output(stride):
    """E[(w x)^2] = w H w^T: the oracle is the convolution itself, all of whose positions are taken (36 < 64)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(10, 3, 6, 6, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    attributes = {"pads": [1, 1, 1, 1], "strides": [stride, stride]}
    moments = input_moments(values, "Conv", attributes, (3, 3))
    output = F.conv2d(values.double(), weight.double(), padding=1, stride=stride).transpose(0, 1).flatten(1)
    rows = weight.double().flatten(1)
    torch.testing.assert_close(((rows @ moments.second) * rows).sum(1), output.square().mean(1))
    torch.testing.assert_close(rows @ moments.mean, output.mean(1))
    torch.testing.assert_close(((rows @ moments.covariance) * rows).sum(1), output.var(1, unbiased=False))


def test_moments_of_a_matrix_product_are_those_of_its_rows():
    values = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    moments = input_moments(values, "Gemm", {}, ())
    torch.testing.assert_close(moments.second, values.double().T @ values.double() / 50)
    torch.testing.assert_close(moments.mean, values.double().mean(0))


def test_a_large_map_is_sampled_the_same_way_every_time():
    values = torch.randn(3, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    first, second = (input_moments(values, "Conv", {"pads": [1, 1, 1, 1]}, (3, 3)) for _ in range(2))
    assert torch.equal(first.second, second.second)
