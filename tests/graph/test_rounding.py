"""Rounding in PyTorch against the code that writes INT8 files, which is NumPy and knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.rounding import as_stored, channel_units, master_weight, stored_scale, weight_scale
from resnet_deploy.quant.insertion import quantize_weight, representable_scale

TYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
WEIGHTS = hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-1000, 1000, width=32))


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.sampled_from(list(TYPES)), st.sampled_from([0, 1]), st.sampled_from([1.0, 2.0**-12, 2.0**-20]))
def test_weight_scales_are_those_that_quantize_writes_bit_for_bit(weight, precision, axis, factor):
    weight = weight * np.float32(factor)
    expected = quantize_weight(weight, axis=axis, float_precision=precision, name="w")
    scale = weight_scale(torch.from_numpy(weight), axis, TYPES[precision])
    np.testing.assert_array_equal(scale.numpy(), expected.scales)


@settings(deadline=None)
@given(hnp.arrays(np.float32, 5, elements=st.floats(0, 60000, width=32)), st.booleans())
def test_stored_scales_are_the_representable_ones(scales, up):
    for precision, dtype in TYPES.items():
        expected = representable_scale(scales, precision, up=up and precision is not Precision.FP32)
        np.testing.assert_array_equal(stored_scale(torch.from_numpy(scales), dtype, up=up).numpy(), expected)


def test_a_scale_off_the_rule_keeps_its_ratio_and_the_others_stay_on_it():
    weight = torch.tensor([[1.27, 0.5], [2.54, 0.1]])
    scale = weight_scale(weight, 0, torch.float32, ratio=torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(scale, torch.tensor([0.01, 0.01]))


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, hnp.arrays(np.int8, (3, 4, 2), elements=st.integers(-127, 127)), st.sampled_from([0.37, 1.0, 0.011]))
def test_a_master_weight_rounds_to_the_given_integers_whatever_the_float_weight_is(weight, values, scale):
    wanted = torch.from_numpy(values).float()
    master = master_weight(torch.from_numpy(weight), wanted, torch.tensor(scale))
    assert torch.equal((master / scale).round().clamp(-127, 127), wanted)


def test_a_master_weight_is_the_float_weight_where_that_rounds_so_and_close_to_it_where_its_neighbour_was_taken():
    weight = torch.tensor([0.8, 1.3, -1.6, 5.0, 7000.0])
    values = torch.tensor([1.0, 2.0, -1.0, 40.0, 127.0])  # rounded, twice the other neighbour, equalised twice
    expected = torch.tensor([0.8, 1.51, -1.49, 40.0, 127.0])
    torch.testing.assert_close(master_weight(weight, values, torch.tensor(1.0)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 5, 3, 3), (8, 5)])
def test_channel_units_are_the_factors_a_weight_was_scaled_by_up_to_its_rounding(shape):
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(shape, generator=generator)
    rows, columns = torch.tensor([1.0, 1, 16, 1, 1, 4, 1, 1]), torch.tensor([1.0, 1, 0.015625, 1, 1])
    one = (1,) * (len(shape) - 2)
    now = before * rows.reshape(-1, 1, *one) * columns.reshape(1, -1, *one)
    found = channel_units(before, now)
    product, wanted = found[0][:, None] * found[1], rows[:, None] * columns
    assert torch.equal(product, wanted)  # the factors here are powers of two
    odd = channel_units(before, now * 3)
    assert ((odd[0][:, None] * odd[1] / (3 * wanted)).log2().abs() <= 1).all()  # each is half a power off at most
    plain = channel_units(before, before + 0.003 * torch.randn(shape, generator=generator))
    assert torch.equal(plain[0], torch.ones(8)) and torch.equal(plain[1], torch.ones(5))
    zero = channel_units(before, torch.zeros(shape))
    assert torch.equal(zero[0], torch.ones(8)) and torch.equal(zero[1], torch.ones(5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_stored_values_are_rounded_and_their_gradient_is_not(dtype):
    values = torch.tensor([1.0001, -3.7, 1e-9], requires_grad=True)
    stored = as_stored(values, dtype)
    assert torch.equal(stored.detach(), values.detach().to(dtype).float())
    stored.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert values.grad.tolist() == [1.0, 2.0, 3.0]
