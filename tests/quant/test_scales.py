from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.quant.scales import (
    METHODS,
    UNSIGNED_LEVELS,
    amax_of,
    checked_method,
    entropy_amax,
    mse_amax,
    scale_of_amax,
)
from resnet_deploy.quant.statistics import TensorStatistics
from tests.reference.plain_entropy import entropy_bins


def _seen(values) -> TensorStatistics:
    statistics = TensorStatistics()
    statistics.update(np.asarray(values, dtype=np.float32))
    return statistics


def _with_counts(counts: list[int]) -> TensorStatistics:
    """A statistic whose histogram is `counts`, bin width 1."""
    values = np.repeat(np.arange(len(counts)) + 0.5, counts)
    statistics = TensorStatistics()
    statistics.minimum, statistics.maximum, statistics.exponent = 0.0, float(values.max()), 0
    statistics.counts[: len(counts)] = counts
    return statistics


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(130, 260), st.sampled_from([1, 5, 50]))
def test_entropy_agrees_with_the_slides(seed, num_bins, density):
    """Oracle: tests/reference/plain_entropy.py."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(density * np.exp(-np.linspace(0, 6, num_bins))).astype(int)
    counts[-1] = 1
    expected = entropy_bins(counts.tolist())
    assert entropy_amax(_with_counts(counts.tolist())) == min(expected, num_bins - 0.5)


def test_entropy_with_twice_the_levels_agrees_with_the_slides():
    counts = np.random.default_rng(3).poisson(20 * np.exp(-np.linspace(0, 6, 520))).astype(int)
    counts[-1] = 1
    found = amax_of(_with_counts(counts.tolist()), "entropy", UNSIGNED_LEVELS)
    assert found == min(entropy_bins(counts.tolist(), levels=256), 519.5)
    assert found != amax_of(_with_counts(counts.tolist()), "entropy")


def test_mse_with_twice_the_levels_halves_the_step_and_cuts_less():
    statistics = _seen(np.abs(np.random.default_rng(4).laplace(size=50_000)))
    signed, unsigned = amax_of(statistics, "mse"), amax_of(statistics, "mse", UNSIGNED_LEVELS)
    assert signed < unsigned < 2 * signed


def test_entropy_cuts_an_outlier_that_max_keeps():
    values = np.append(np.abs(np.random.default_rng(0).standard_normal(100_000)), 60.0)
    statistics = _seen(values)
    assert amax_of(statistics, "max") == 60.0
    assert 3.0 < amax_of(statistics, "entropy") < 10.0
    assert 15.0 <= amax_of(statistics, "mse") < 50.0  # the outlier's own error counts


def test_mse_beats_every_other_threshold():
    """Oracle: the error of int8 on the very values, not on the histogram."""
    values = np.random.default_rng(1).laplace(size=50_000).astype(np.float32)
    statistics = _seen(values)

    def error(amax: float) -> float:
        scale = amax / 127
        return float(((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2).mean())

    # Bins are 1/2048 of the range or finer, so the histogram's error differs from the true one by a few per mille.
    best = min(error(statistics.largest * f) for f in np.linspace(0.25, 1, 100))
    assert error(mse_amax(statistics)) <= best * 1.01
    assert error(statistics.largest) > best * 1.1


@pytest.mark.parametrize("method", sorted(METHODS))
def test_few_values_and_zeros(method):
    assert amax_of(_seen([0.0, 0.0]), method) == 0.0
    assert 0 < amax_of(_seen([0.0, 2.0, -3.0]), method) <= 3.0
    assert scale_of_amax(0.0) == 1.0
    assert scale_of_amax(127.0) == 1.0


@pytest.mark.parametrize("method", sorted(METHODS))
def test_scale_follows_the_units(method):
    """Values times 2^k move the threshold by 2^k exactly."""
    values = np.random.default_rng(2).standard_normal(10_000).astype(np.float32)
    assert amax_of(_seen(values * 16), method) == 16 * amax_of(_seen(values), method)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(-100, 100, width=32, allow_subnormal=False)), min_size=1, max_size=80),
    st.sampled_from(["1", "37.5", "50", "90", "99", "99.99", "100"]),
)
def test_percentile_is_the_upper_edge_of_the_right_bin(values, percent):
    """Oracle: sorted magnitudes and a rank by exact arithmetic; the bin is that of the value of this rank."""
    statistics = _seen(values)
    magnitudes = sorted(abs(Fraction(float(np.float32(v)))) for v in values)
    rank = math.ceil(Fraction(percent) * len(values) / 100)
    value = magnitudes[rank - 1]
    expected = 0.0
    if value:
        edge = (value // Fraction(statistics.bin_width) + 1) * Fraction(statistics.bin_width)
        expected = min(float(edge), statistics.largest)
    assert amax_of(statistics, f"percentile:{percent}") == expected


def test_percentile_cuts_what_it_says():
    values = np.append(np.full(9_999, 1.0), 50.0)  # exactly 99.99 % lie at 1
    width = _seen(values).bin_width
    assert amax_of(_seen(values), "percentile:99.99") == 1.0 + width
    assert amax_of(_seen(values), "percentile:99.991") == 50.0
    assert amax_of(_seen(np.append(values, np.zeros(10_000))), "percentile:50") == 0.0


@pytest.mark.parametrize(
    ("method", "spelled"),
    [
        ("percentile:99.990", "percentile:99.99"),
        ("percentile:100", "percentile:100"),
        ("percentile:1e1", "percentile:10"),
    ],
)
def test_a_method_has_one_spelling(method, spelled):
    assert checked_method(method) == spelled


@pytest.mark.parametrize("method", ["percentile", "percentile:", "percentile:0", "percentile:101", "percentile:nan",
                                    "percentile:x", "percentile:-5", "median", "max:3", ""])  # fmt: skip
def test_unknown_methods_are_refused(method):
    with pytest.raises(ConfigError, match=f"calibration method {method!r}"):
        amax_of(_seen([1.0]), method)
