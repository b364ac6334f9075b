from __future__ import annotations

import math

import numpy as np
import pytest

from resnet_deploy.bench.measure.paired import LEAST_DIFFERENCE, ratio_of_rounds, say_ratio
from resnet_deploy.core.errors import ConfigError


def _rounds(centre: float, spread: float, seed: int, count: int = 20) -> np.ndarray:
    return math.log(centre) + spread * np.random.default_rng(seed).standard_normal(count)


def test_interval_and_p_value_are_those_of_scipys_paired_test() -> None:
    from scipy import stats

    logs = np.tile(_rounds(1.05, 0.02, 1), 1)
    logs = logs[np.argsort(np.arange(20) % 2, kind="stable")]
    from resnet_deploy.bench.measure.intervals import correlation_inflation

    widening = math.sqrt(correlation_inflation(logs))
    found, oracle = ratio_of_rounds(logs), stats.ttest_1samp(logs, 0)
    interval = oracle.confidence_interval(0.99)
    assert found.ratio == pytest.approx(math.exp(logs.mean()))
    assert math.log(found.high) - logs.mean() == pytest.approx(widening * (interval.high - logs.mean()))
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(oracle.statistic) / widening, 19))


def test_a_thing_against_itself_is_called_different_once_in_a_hundred() -> None:
    wrong = sum(ratio_of_rounds(_rounds(1.0, 0.05, seed), noise_floor=0.0).differs for seed in range(1000))
    assert wrong <= 20  # binomial: 1000 trials at 1 % exceed 20 with probability 0.001


def test_differences_under_the_noise_floor_are_none_however_sharp() -> None:
    sharp = ratio_of_rounds(_rounds(1.005, 1e-4, 0))
    assert sharp.low > 1 and not sharp.differs and sharp.noise_floor == LEAST_DIFFERENCE
    assert "under the noise floor of 1.0%" in say_ratio(sharp, "a", "b")
    assert not ratio_of_rounds(_rounds(1.04, 1e-4, 0), noise_floor=0.05).differs


def test_the_sentence_says_which_is_faster_with_the_interval() -> None:
    slower, faster = ratio_of_rounds(_rounds(1.25, 0.01, 2)), ratio_of_rounds(_rounds(0.8, 0.01, 2))
    assert say_ratio(slower, "a", "b").startswith(f"a is {slower.ratio:.3f} ({slower.low:.3f} to {slower.high:.3f})")
    assert say_ratio(faster, "a", "b").startswith(f"b is {1 / faster.ratio:.3f} ({1 / faster.high:.3f} to ")
    same = ratio_of_rounds(_rounds(1.0, 0.05, 3))
    assert say_ratio(same, "a", "b").startswith("no difference") and "contains 1" in say_ratio(same, "a", "b")


def test_correlated_rounds_widen_the_interval() -> None:
    logs = _rounds(1.0, 0.05, 4)
    assert ratio_of_rounds(np.sort(logs)).high > 1.5 * (ratio_of_rounds(logs).high - 1) + 1


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 rounds"):
        ratio_of_rounds(np.zeros(4))
