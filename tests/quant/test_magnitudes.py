from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.quant.magnitudes import MagnitudeHistogram

VALUES = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def _of(values: np.ndarray) -> MagnitudeHistogram:
    seen = MagnitudeHistogram()
    seen.update(values)
    return seen


@given(VALUES, st.integers(-140, 120))
def test_counts_below_a_power_of_two_are_exact(values, exponent):
    threshold = 2.0**exponent
    magnitudes = np.abs(values.astype(np.float64))
    nonzero = magnitudes[magnitudes > 0]
    seen = _of(values)
    assert seen.num_zeros == values.size - nonzero.size and seen.num_nonzero == nonzero.size
    assert seen.largest == magnitudes.max()
    if exponent >= -129:  # the first bin holds all denormals below 2^-129, and is cut evenly
        assert seen.share_below(threshold) == pytest.approx(np.mean(nonzero < threshold) if nonzero.size else 0)


@given(VALUES, VALUES)
def test_order_and_shards_leave_no_trace(first, second):
    merged = _of(second)
    merged.merge(_of(first))
    whole = _of(np.concatenate([first, second]))
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert (merged.num_zeros, merged.largest) == (whole.num_zeros, whole.largest)


def test_more_values_than_one_chunk_are_all_counted():
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    seen = _of(values)
    assert seen.num_nonzero == 200_000
    assert seen.share_below(0.5) == pytest.approx(np.mean(np.abs(values) < 0.5))


def test_energy_is_that_of_the_values():
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    exact = (values[np.abs(values) < 0.25] ** 2).sum() / (values**2).sum()
    # A bin is an eighth of an octave and stands at its middle: a square is off by at most 2 / 16, either way.
    assert _of(values).energy_below(0.25) == pytest.approx(exact, rel=0.01)
    assert _of(values).energy_below(100.0) == pytest.approx(1.0)


def test_zeros_alone_lose_nothing():
    seen = _of(np.zeros(5, np.float32))
    assert (seen.share_below(1.0), seen.energy_below(1.0), seen.largest, seen.num_zeros) == (0, 0, 0, 5)
    assert MagnitudeHistogram().share_below(1.0) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_nothing_added(bad):
    seen = MagnitudeHistogram()
    with pytest.raises(CalibrationError, match="'conv1': 1 of 3 values are NaN or infinite"):
        seen.update(np.float32([1, bad, 2]), name="conv1")
    assert seen.num_nonzero == 0 and seen.largest == 0
