from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_deploy.core.specs import Precision
from resnet_deploy.quant.grid import FP8_GRID, GRIDS, INT8_GRID
from resnet_deploy.quant.table import TensorScale

VALUES = hnp.arrays(np.float32, 50, elements=st.floats(-1000, 1000, width=32))


def _entry(*, amax: float, minimum: float, maximum: float) -> TensorScale:
    scale = amax / 127 if amax else 1.0
    return TensorScale(amax=amax, scale=scale, minimum=minimum, maximum=maximum, num_values=9, num_zeros=0)


@given(VALUES)
def test_fp8_is_the_nearest_e4m3_number_half_to_even_and_saturates(values):
    """Oracle: PyTorch's own float8_e4m3fn, of values that were clipped first."""
    expected = torch.from_numpy(values).clamp(-448, 448).to(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(FP8_GRID.round(values).astype(np.float32), expected)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (448, 448), (449, 448), (1e9, 448), (-1e9, -448),  # saturated, never NaN
        (17, 16), (19, 20), (2.0**-10, 0), (3 * 2.0**-10, 2.0**-8), (2.0**-9, 2.0**-9),  # ties go to even
    ],
)  # fmt: skip
def test_fp8_by_hand(value, stored):
    assert FP8_GRID.round(np.float32([value])).astype(np.float32)[0] == stored


@given(VALUES)
def test_fp8_error_is_at_most_a_sixteenth_of_the_value(values):
    limited = np.clip(values, -448, 448)
    error = np.abs(FP8_GRID.round(values).astype(np.float32) - limited)
    # Three bits after the point: half a step is 2^-4 of the value; below 2^-6 the step is 2^-9, half of it 2^-10.
    assert (error <= np.maximum(np.abs(limited) * 2.0**-4, 2.0**-10)).all()


def test_int8_by_hand():
    values = np.float32([0.5, 1.5, 2.5, -0.5, 126.6, 127.4, 500, -500])
    assert INT8_GRID.round(values).tolist() == [0, 2, 2, 0, 127, 127, 127, -127]


def test_fp8_takes_the_whole_range_where_int8_takes_the_clipped_one():
    entry = _entry(amax=2.0, minimum=-8.96, maximum=4.0)
    assert INT8_GRID.scale(entry) == entry.scale == 2.0 / 127
    assert FP8_GRID.scale(entry) == 8.96 / 448


def test_a_tensor_that_is_always_zero_has_scale_one():
    entry = _entry(amax=0.0, minimum=0.0, maximum=0.0)
    assert INT8_GRID.scale(entry) == FP8_GRID.scale(entry) == 1.0


def test_every_quantised_precision_has_its_grid():
    assert set(GRIDS) == {Precision.INT8, Precision.FP8}
