from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.metrics import holm, normal_quantile, paired_drop_interval, top_k_hits, wilson_interval
from tests.reference.plain_statistics import plain_tango_statistic, plain_top_k_hit, plain_wilson

_FEW_VALUES = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.inf, np.nan])  # few, so that ties are common


@given(st.data())
def test_top_k_agrees_with_a_plain_sort(data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(_FEW_VALUES, min_size=classes, max_size=classes), min_size=1, max_size=8))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    k = data.draw(st.integers(1, 7))
    expected = [plain_top_k_hit(row, label, k) for row, label in zip(rows, labels, strict=True)]
    assert top_k_hits(np.array(rows), np.array(labels), k).tolist() == expected


def test_of_equal_logits_the_smaller_class_wins_as_in_argmax() -> None:
    logits = np.zeros((3, 3), dtype=np.float32)
    assert top_k_hits(logits, np.array([0, 1, 2]), 1).tolist() == [True, False, False]
    assert top_k_hits(logits, np.array([0, 1, 2]), 2).tolist() == [True, True, False]


def test_a_row_with_nan_never_hits() -> None:
    logits = np.array([[9.0, np.nan], [9.0, 1.0]])
    assert top_k_hits(logits, np.array([0, 0]), 2).tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "k", "match"), [([0, 3], 1, r"labels 0 \.\. 3"), ([0, -1], 1, r"-1 \.\. 0"), ([0, 1], 0, "k is 0")]
)
def test_top_k_refuses_what_has_no_answer(labels: list[int], k: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        top_k_hits(np.zeros((2, 3)), np.array(labels), k)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_defining_equation(counts: tuple[int, int]) -> None:
    # Bisection halves 200 times, so both are float64-exact; near 0 the subtraction of two terms <= 1 costs 1e-15.
    np.testing.assert_allclose(wilson_interval(*counts), plain_wilson(*counts), rtol=1e-9, atol=1e-12)


def test_wilson_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 hits of 4"):
        wilson_interval(5, 4)


def test_paired_interval_covers_the_true_drop_about_as_often_as_it_says() -> None:
    # 2,000 draws: the standard error of a 95 % coverage is 0.5 points; 4 of them on either side, and the interval is
    # known to be conservative for few differing pairs, so only the lower side is tight.
    rng = np.random.default_rng(0)
    n, p_lost, p_won = 600, 0.02, 0.01
    covered = 0
    for lost, won, _ in rng.multinomial(n, [p_lost, p_won, 1 - p_lost - p_won], size=2000):
        low, high = paired_drop_interval(int(lost), int(won), n)
        covered += low <= 100 * (p_lost - p_won) <= high
    assert 0.93 <= covered / 2000 <= 0.99


def test_paired_interval_is_symmetric_and_never_empty() -> None:
    low, high = paired_drop_interval(0, 0, 599)
    assert low < 0 < high and low == pytest.approx(-high)
    a, b = paired_drop_interval(9, 2, 100), paired_drop_interval(2, 9, 100)
    assert a == pytest.approx((-b[1], -b[0]))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="7 \\+ 5 differing images of 10"):
        paired_drop_interval(7, 5, 10)


def test_a_wider_confidence_gives_a_wider_wilson_interval() -> None:
    # At hits = count it is count / (count + z^2) to 1 in closed form.
    assert wilson_interval(50, 50, confidence=0.9)[0] == pytest.approx(50 / (50 + 1.6448536269514722**2), rel=1e-12)
    low, high = wilson_interval(30, 100), wilson_interval(30, 100, confidence=0.99)
    assert high[0] < low[0] < low[1] < high[1]


@pytest.mark.parametrize("counts", [(9, 2, 100), (0, 0, 50), (3, 0, 40), (0, 7, 60), (59, 42, 1000), (30, 29, 60)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_paired_interval_ends_where_the_score_test_just_rejects(counts: tuple, confidence: float) -> None:
    low, high = (end / 100 for end in paired_drop_interval(*counts, confidence=confidence))
    z = normal_quantile((1 + confidence) / 2)
    # The search for the likeliest share is good to about 1e-8 of it; the statistic follows with its square root.
    assert plain_tango_statistic(*counts, low) == pytest.approx(z, rel=1e-4)
    assert plain_tango_statistic(*counts, high) == pytest.approx(-z, rel=1e-4)


def test_the_paired_interval_of_a_published_table() -> None:
    # One patient against seven, of 21 (airway hyper-responsiveness, Bentur 2009), as in Fagerland, Lydersen and Laake
    # 2014: -0.517 to -0.026.
    assert paired_drop_interval(1, 7, 21) == (pytest.approx(-51.7, abs=0.05), pytest.approx(-2.6, abs=0.05))


def test_without_a_differing_image_the_paired_interval_is_as_wide_as_the_sample_allows() -> None:
    # b = c = 0: n * drop / sqrt(n * drop * (1 - drop)) = z, so drop = z^2 / (n + z^2).
    z2 = normal_quantile(0.975) ** 2
    assert paired_drop_interval(0, 0, 599)[1] == pytest.approx(100 * z2 / (599 + z2), rel=1e-12)


def test_one_sided_bounds_of_a_drop_err_as_often_as_they_say() -> None:
    # The true drop is 0.5 points; a bound on its wrong side is an error. All splits of 1,000 images with up to 40
    # differing ones are counted with their exact probabilities (the rest: 4e-7), so there is no noise. The score test
    # is asymptotic: exact errors are 4.7 % and 5.8 %; a bound at twice the level would give 10 %.
    from scipy.stats import binom

    n, p_lost, p_won = 1000, 0.0075, 0.0025
    under = over = 0.0
    for differing in range(41):
        for lost in range(differing + 1):
            p = binom.pmf(differing, n, p_lost + p_won) * binom.pmf(lost, differing, p_lost / (p_lost + p_won))
            if p > 1e-9:
                low, high = paired_drop_interval(lost, differing - lost, n, confidence=0.9)
                under, over = under + p * (high < 0.5), over + p * (low > 0.5)
    assert 0.04 < under < 0.055 and 0.04 < over < 0.065


@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.3, 1.0]), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    # A hypothesis falls when every set of hypotheses that holds it falls by Bonferroni (Marcus, Peritz, Gabriel 1976).
    sets = [s for size in range(1, len(p) + 1) for s in combinations(range(len(p)), size)]
    closed = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(len(p))]
    assert holm(np.array(p)) == pytest.approx(closed)
