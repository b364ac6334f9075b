from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from resnet_deploy.core.metrics import wilson_interval
from resnet_deploy.verify.statistics.result import Conclusion
from resnet_deploy.verify.statistics.scores import decide_drop, mcnemar, paired_score, proportion
from tests.reference.plain_statistics import plain_mcnemar


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_a_count_of_all_splits(b: int, c: int) -> None:
    exact, mid = plain_mcnemar(b, c)
    assert mcnemar(b, c) == (pytest.approx(exact, rel=1e-12), pytest.approx(mid, rel=1e-12))


def test_exact_mcnemar_is_the_sign_test_of_scipy() -> None:
    for b, c in ((1, 7), (59, 42), (400, 300), (0, 5)):
        assert mcnemar(b, c)[0] == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-10)


def test_mid_p_of_one_against_seven() -> None:
    # By hand: 2 * (1 + 8) / 256 and 2 * (1 + 8 / 2) / 256.
    assert mcnemar(1, 7) == (pytest.approx(18 / 256), pytest.approx(10 / 256))


def test_two_networks_that_never_differ_have_a_p_value_of_one() -> None:
    assert mcnemar(0, 0) == (1.0, 1.0)


def test_a_share_comes_with_its_wilson_interval() -> None:
    share = proportion(30, 200, 0.1)
    low, high = wilson_interval(30, 200, confidence=0.9)
    assert (share.percent, share.low, share.high) == (15.0, pytest.approx(100 * low), pytest.approx(100 * high))
    assert proportion(0, 0, 0.05).high == 100.0


def test_a_paired_score_takes_the_four_cells_from_three_counts() -> None:
    score = paired_score(80, 75, 70, 100, level=0.05)
    assert (score.num_only_reference, score.num_only_candidate, score.num_neither) == (10, 5, 15)
    assert score.drop == pytest.approx(5.0) and score.drop_low < 5 < score.drop_high and not score.differs
    assert paired_score(80, 60, 59, 100, level=0.05).differs  # 21 against 1


@pytest.mark.parametrize(
    ("lost", "won", "conclusion"),
    [(60, 60, Conclusion.WITHIN), (160, 60, Conclusion.BEYOND), (90, 60, Conclusion.UNDECIDED)],
)
def test_bounds_decide_only_what_they_exclude(lost: int, won: int, conclusion: Conclusion) -> None:
    # Of 10,000 images, against half a point: bounds are drop +- 1.64 * sqrt(differing) / 100, about 0.2 points.
    score = paired_score(8000, 8000 - lost + won, 8000 - lost, 10_000, level=0.05)
    decision = decide_drop(score, 0.5, level=0.05, prove=True)
    assert decision.conclusion is conclusion and decision.low < score.drop < decision.high
    assert decision.low > score.drop_low and decision.high < score.drop_high  # one-sided is tighter than two-sided


def test_bounds_of_a_sequential_run_replace_those_of_the_sample() -> None:
    score = paired_score(8000, 8000, 7940, 10_000, level=0.05)
    decision = decide_drop(score, 0.5, level=0.05, prove=False, bounds=(-0.8, 0.7), method="looked")
    assert decision.conclusion is Conclusion.UNDECIDED and (decision.high, decision.method) == (0.7, "looked")


def test_mid_p_rejects_as_often_as_its_level_says_and_the_exact_test_never_more() -> None:
    sizes = []
    for differing in range(20, 161, 10):
        chance = binom.pmf(np.arange(differing + 1), differing, 0.5)  # of every split, where both are equally good
        p = np.array([mcnemar(lost, differing - lost) for lost in range(differing + 1)])
        exact, mid = chance @ (p < 0.05)
        assert exact <= 0.05
        sizes.append(mid)
    # every split is counted, so nothing is left to chance; the steps of a binomial scatter the size around the level
    assert 0.02 < min(sizes) and max(sizes) < 0.07
    assert 0.04 < np.mean(sizes) < 0.055
