from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.quant.scales import METHODS, amax_of, entropy_amax, mse_amax, scale_of_amax
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


def test_unknown_method():
    with pytest.raises(ConfigError, match="'median'"):
        amax_of(_seen([1.0]), "median")
