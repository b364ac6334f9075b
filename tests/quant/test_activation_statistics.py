from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.quant.statistics import NUM_BINS, TensorStatistics

FLOATS = hnp.arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.one_of(
        st.just(0.0),
        st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
        st.floats(-8, 8, width=32, allow_subnormal=False),
    ),
)


def _state(statistics: TensorStatistics) -> tuple:
    return (
        statistics.minimum,
        statistics.maximum,
        statistics.counts.tolist(),
        statistics.num_zeros,
        statistics.exponent,
    )


def _seen(*parts: np.ndarray) -> TensorStatistics:
    statistics = TensorStatistics()
    for part in parts:
        statistics.update(part)
    return statistics


@settings(max_examples=200, deadline=None)
@given(FLOATS, st.randoms(use_true_random=False), st.integers(1, 40))
def test_order_batches_and_shards_leave_no_trace(values, random, step):
    expected = _state(_seen(values))
    shuffled = values.copy()
    random.shuffle(shuffled)
    parts = [shuffled[start : start + step] for start in range(0, len(shuffled), step)]
    assert _state(_seen(*parts)) == expected
    left, right = _seen(*parts[::2]), _seen(*parts[1::2])
    left.merge(right)
    assert _state(left) == expected


@settings(max_examples=200, deadline=None)
@given(FLOATS)
def test_bins_are_exact(values):
    """Oracle: every value's bin by exact rational arithmetic, one at a time."""
    from fractions import Fraction

    statistics = _seen(values)
    assert statistics.num_values == len(values)
    assert statistics.num_zeros == sum(v == 0 for v in values.tolist())
    expected = np.zeros(NUM_BINS, dtype=np.int64)
    for value in values.tolist():
        if value:
            expected[int(abs(Fraction(value)) / Fraction(2) ** statistics.exponent)] += 1
    np.testing.assert_array_equal(statistics.counts, expected)
    if statistics.exponent is not None:
        assert np.flatnonzero(expected)[-1] >= NUM_BINS // 2  # the histogram is as fine as it can be


def test_large_array_is_counted_like_its_parts():
    """Arrays are handled in pieces that fit the cache; the seam must not show."""
    values = np.random.default_rng(0).standard_normal(200_001).astype(np.float32)
    assert _state(_seen(values)) == _state(_seen(values[:7], values[7:]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_by_name(bad):
    statistics = TensorStatistics()
    with pytest.raises(CalibrationError, match=r"'layer1\.0\.relu': 1 of 3"):
        statistics.update(np.array([1.0, bad, 2.0], dtype=np.float32), name="layer1.0.relu")
    assert statistics.num_values == 0


def test_only_zeros():
    statistics = _seen(np.zeros(5, dtype=np.float32))
    assert (statistics.num_zeros, statistics.largest, statistics.exponent, statistics.bin_width) == (5, 0.0, None, 0.0)


def test_the_sign_of_zero_does_not_tell_which_image_came_first():
    """min(0.0, -0.0) is the first of the two in Python, and -0.0 is written as such."""
    first, second = _seen(np.float32([-0.0]), np.float32([0.0, 3.0])), _seen(np.float32([0.0, 3.0]), np.float32([-0.0]))
    assert str(_state(first)) == str(_state(second))
    assert math.copysign(1.0, first.minimum) == 1.0
