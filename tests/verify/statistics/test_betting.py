from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.metrics import paired_drop_interval
from resnet_deploy.verify.statistics.betting import log_wealth, lower_bound, upper_bound

_DROPS = (-1.0, 0.0, 1.0)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.integers(1, 4), st.floats(-0.2, 0.2))
def test_the_expected_wealth_is_at_most_one_where_the_hypothesis_is_true(
    p_lost: float, p_won: float, count: int, shift: float
) -> None:
    # All sequences of up to four images with their exact probabilities; the hypothesis is `mean >= true mean - shift`.
    p = (p_won, 1 - p_won - p_lost, p_lost)
    mean = p_lost - p_won - shift
    expected = 0.0
    for sequence in product(range(3), repeat=count):
        counts = [sequence.count(place) for place in range(3)]
        expected += math.prod(p[place] for place in sequence) * math.exp(log_wealth(counts, _DROPS, mean))
    if shift == 0:
        assert expected == pytest.approx(1.0, rel=1e-9)  # every bet is fair there
    elif shift > 0:
        assert expected <= 1 + 1e-9
    else:
        assert expected >= 1 - 1e-9  # a false hypothesis loses money


@given(st.integers(0, 400), st.integers(0, 40), st.integers(0, 40))
def test_wealth_does_not_fall_as_the_hypothesis_moves_away(same: int, lost: int, won: int) -> None:
    found = [log_wealth((won, same, lost), _DROPS, mean) for mean in np.linspace(-0.9, 0.9, 19)]
    assert all(a <= b + 1e-9 for a, b in pairwise(found))


def test_wealth_is_the_mean_over_the_bets_of_a_product_over_images() -> None:
    counts, mean = (3, 50, 5), 0.1
    bets = np.geomspace(0.002, 0.95, 30) / (1 - mean)
    plain = np.mean([(1 + b * (mean + 1)) ** 3 * (1 + b * mean) ** 50 * (1 + b * (mean - 1)) ** 5 for b in bets])
    assert log_wealth(counts, _DROPS, mean) == pytest.approx(math.log(plain), rel=1e-12)


def test_one_other_value_rules_out_that_all_are_the_largest() -> None:
    assert log_wealth((1, 99), (0.0, 1.0), 1.0) == math.inf and log_wealth((0, 99), (0.0, 1.0), 1.0) == 0.0


def test_a_bound_is_where_the_wealth_reaches_one_over_the_level() -> None:
    counts = (40, 9900, 60)
    high, low = upper_bound(counts, _DROPS, 0.05), lower_bound(counts, _DROPS, 0.05)
    assert log_wealth(counts, _DROPS, high) == pytest.approx(math.log(20), abs=1e-4)
    assert low < 0.002 < high and low == pytest.approx(-upper_bound(counts[::-1], _DROPS, 0.05))
    assert upper_bound((0, 0, 0), _DROPS, 0.05) == 1.0 and lower_bound((0, 0), (0.0, 1.0), 0.05) == 0.0


def test_the_price_of_looking_always_is_less_than_a_doubled_interval() -> None:
    counts = (50, 9900, 50)
    fixed = paired_drop_interval(50, 50, 10_000, confidence=0.9)[1] / 100
    assert fixed < upper_bound(counts, _DROPS, 0.05) < 2 * fixed


def _share_of_errors(p_lost: float, p_won: float, runs: int, images: int, bound, seed: int) -> float:
    """Share of runs in which the upper bound was under the true drop at any of the looks, one every 100 images."""
    rng, errors = np.random.default_rng(seed), 0
    for _ in range(runs):
        steps = rng.multinomial(100, [p_won, 1 - p_won - p_lost, p_lost], size=images // 100).cumsum(axis=0)
        errors += any(bound(counts, p_lost - p_won) for counts in steps.tolist())
    return errors / runs


def _by_betting(counts: list[int], drop: float) -> bool:
    return log_wealth(counts, _DROPS, drop) >= math.log(20)


def _by_fixed_sample(counts: list[int], drop: float) -> bool:
    won, same, lost = counts
    return paired_drop_interval(lost, won, won + same + lost, confidence=0.9)[1] < 100 * drop


def test_bounds_hold_at_all_looks_together_and_those_of_a_fixed_sample_do_not() -> None:
    # 300 runs of 40 looks at a true drop of half a point; level 5 %: 3 standard errors are 3.8 points.
    assert _share_of_errors(0.0125, 0.0075, 300, 4000, _by_betting, 0) <= 0.05 + 0.038
    # The planted fault: looking at an ordinary bound as often errs far beyond its level.
    assert _share_of_errors(0.0125, 0.0075, 100, 4000, _by_fixed_sample, 0) > 0.12


@pytest.mark.slow
@pytest.mark.parametrize(("p_lost", "p_won"), [(0.005, 0.0), (0.0075, 0.0025), (0.055, 0.05), (0.01, 0.01)])
def test_bounds_hold_at_all_looks_together_over_many_runs(p_lost: float, p_won: float) -> None:
    # 3,000 runs of 200 looks; level 5 %: 3 standard errors are 1.2 points.
    assert _share_of_errors(p_lost, p_won, 3000, 20_000, _by_betting, 1) <= 0.05 + 0.012
