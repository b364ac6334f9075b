"""Intervals, drift and noise floor: against scipy, against enumeration, and by how often they hold on correlated noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from resnet_deploy.bench.measure.intervals import (
    block_medians,
    correlation_inflation,
    drift_of,
    mean_interval,
    noise_floor_of,
    quantile_intervals,
    student_t,
)


def correlated(count: int, rho: float, seed: int) -> np.ndarray:
    """A stationary AR(1) series of unit variance."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    steps = rng.standard_normal(count) * math.sqrt(1 - rho * rho)
    steps[0] = rng.standard_normal()
    return lfilter([1.0], [1.0, -rho], steps)


def _coverage(rho: float, *, count: int = 2000, repeats: int = 100) -> dict[str, float]:
    held = {"p50": 0, "p95": 0, "mean": 0, "independent": 0}
    truth = {"p50": 1.0, "p95": math.exp(0.05 * 1.6448536), "mean": math.exp(0.05**2 / 2)}
    for seed in range(repeats):
        x = np.exp(0.05 * correlated(count, rho, seed))
        p50, p95 = quantile_intervals(x, (0.5, 0.95))
        mean = mean_interval(x)
        naive = 1.96 * x.std() / math.sqrt(count)
        held["p50"] += p50[0] <= truth["p50"] <= p50[1]
        held["p95"] += p95[0] <= truth["p95"] <= p95[1]
        held["mean"] += mean[0] <= truth["mean"] <= mean[1]
        held["independent"] += abs(x.mean() - truth["mean"]) <= naive
    return {name: number / repeats for name, number in held.items()}


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_intervals_hold_as_often_as_they_say_whether_passes_are_correlated_or_not(rho: float) -> None:
    held = _coverage(rho)
    # binomial: 100 trials at 95 % lie at or over 88 % with probability 0.998; p95 is allowed its known bias in short series
    assert held["p50"] >= 0.88 and held["mean"] >= 0.88 and held["p95"] >= 0.84, held


def test_the_formula_for_independent_samples_does_not_hold_on_correlated_ones() -> None:
    assert _coverage(0.9, repeats=80)["independent"] < 0.75  # what the blocks are for


def test_the_median_interval_is_that_of_scipys_bootstrap_over_blocks() -> None:
    from scipy import stats

    x = np.exp(0.05 * np.random.default_rng(3).standard_normal(400))
    blocks = x.reshape(20, 20)

    def median_of(places: np.ndarray, axis: int) -> np.ndarray:
        return np.median(blocks[places.astype(int)].reshape(*places.shape[:-1], -1), axis=-1)

    tail = stats.norm.cdf(-math.sqrt(20 / 19) * stats.t.ppf(0.975, 19))
    oracle = stats.bootstrap(
        (np.arange(20),), median_of, n_resamples=4000, confidence_level=1 - 2 * tail, method="percentile", rng=1
    ).confidence_interval
    widening = math.sqrt(correlation_inflation(block_medians(x)))
    (low, high), median = quantile_intervals(x, (0.5,))[0], np.median(x)
    assert (median - low) / widening == pytest.approx(median - oracle.low, rel=0.2)
    assert (high - median) / widening == pytest.approx(oracle.high - median, rel=0.2)


def test_a_quantile_with_few_samples_beyond_it_has_no_interval() -> None:
    x = 1 + np.random.default_rng(0).random(100)
    p50, p95, p99 = quantile_intervals(x, (0.5, 0.95, 0.99))
    assert p50 is not None and p95 is not None and p99 is None
    assert quantile_intervals(x[:4], (0.5,)) == [None] and mean_interval(x[:4]) is None


def test_the_interval_of_a_time_stays_above_zero_however_few_and_far_apart_the_samples_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        low, high = quantile_intervals(np.cumsum(np.exp(3 * rng.standard_normal(8))), (0.5,))[0]
        assert 0 < low <= high


def test_the_inflation_is_that_of_the_formula_for_a_long_series() -> None:
    assert correlation_inflation(correlated(20_000, 0.5, 1)) == pytest.approx(3.0, rel=0.05)  # (1 + r) / (1 - r)
    assert correlation_inflation(np.tile([0.9, 1.1], 50)) == 1.0  # never narrower than for independent values
    assert correlation_inflation(np.ones(20)) == 1.0


def test_student_t_is_scipys() -> None:
    from scipy import stats

    for degrees in (3, 19, 400):
        assert student_t(0.99, degrees) == pytest.approx(stats.t.ppf(0.995, degrees))


def test_the_noise_floor_is_the_quantile_over_all_ways_to_name_the_halves() -> None:
    x = np.exp(0.1 * np.random.default_rng(5).standard_normal(20))  # blocks of one sample
    pairs = np.log(x).reshape(10, 2)
    differences = pairs[:, 0] - pairs[:, 1]
    ratios = [
        math.exp(abs(sum(s * d for s, d in zip(signs, differences, strict=True))) / 10) - 1
        for signs in itertools.product((1, -1), repeat=10)
    ]
    assert noise_floor_of(x) == pytest.approx(np.quantile(ratios, 0.95, method="inverted_cdf"))
    assert noise_floor_of(np.ones(100)) == 0.0 and noise_floor_of(np.ones(9)) is None


def test_slow_changes_are_no_noise_for_neighbours() -> None:
    assert noise_floor_of(np.linspace(1, 1.2, 2000)) < 0.01


def test_the_trend_test_is_kendalls_and_its_size_that_of_the_thirds() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    x = rng.random(20) + np.linspace(0, 0.4, 20)
    score = round(stats.kendalltau(np.arange(20), x).statistic * 190)
    z = (abs(score) - 1) / math.sqrt(20 * 19 * 45 / 18)
    assert drift_of(x).p_value == pytest.approx(2 * stats.norm.sf(z))
    assert drift_of(x).p_value == pytest.approx(stats.kendalltau(np.arange(20), x, method="exact").pvalue, rel=0.2)
    ramp = drift_of(np.linspace(1.0, 1.3, 3000))
    assert ramp.change == pytest.approx(1.25 / 1.05 - 1, rel=1e-3) and ramp.p_value < 1e-6
    assert drift_of(np.ones(100)).p_value == 1.0 and drift_of(np.ones(9)) is None


def test_a_quiet_series_is_called_drifting_as_rarely_as_the_level_says() -> None:
    found = [drift_of(np.exp(0.05 * correlated(1000, 0.8, seed))).p_value < 0.05 for seed in range(300)]
    assert np.mean(found) < 0.093  # binomial: 300 trials at 5 % exceed it with probability 0.001
