from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.verify.error_histogram import RELATIVE_ACCURACY, ErrorHistogram

_PERCENTS = (1, 50, 90, 99, 99.9, 100)


def _check(values: np.ndarray) -> None:
    histogram = ErrorHistogram()
    for part in np.array_split(values, 5):
        histogram.add(part)
    for percent in _PERCENTS:
        rank = math.ceil(Fraction(str(percent)) * len(values) / 100)
        true = float(np.sort(values)[max(rank, 1) - 1])
        # Half a bin, and the rounding of float64 to float32 before it (2^-24).
        assert histogram.percentile(percent) == pytest.approx(true, rel=RELATIVE_ACCURACY + 1e-7)


@pytest.mark.parametrize("spread", [0.1, 3.0, 15.0])
def test_percentiles_are_those_of_the_sorted_values_within_the_stated_accuracy(spread: float) -> None:
    _check(np.exp(np.random.default_rng(0).normal(-5, spread, 20_000)))


@given(st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=50))
def test_any_magnitudes_keep_the_accuracy(values: list[float]) -> None:
    _check(np.array(values))


def test_zero_is_zero_and_nothing_is_none() -> None:
    histogram = ErrorHistogram()
    assert histogram.percentile(50) is None
    histogram.add(np.array([0.0, 0.0, 0.0, 2.0]))
    assert histogram.percentile(75) == 0 and histogram.percentile(76) == pytest.approx(2, rel=RELATIVE_ACCURACY)


def test_magnitudes_beyond_float32_are_kept_at_its_ends() -> None:
    histogram = ErrorHistogram()
    histogram.add(np.array([1e-300, 1e300]))
    assert histogram.percentile(50) == 0 and histogram.percentile(100) == pytest.approx(3.4e38, rel=0.01)


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    histogram = ErrorHistogram()
    before = histogram._counts.nbytes
    histogram.add(np.random.default_rng(0).random(100_000))
    assert histogram._counts.nbytes == before <= 128 * 1024
