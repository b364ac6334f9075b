from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.metrics import paired_drop_interval, top_k_hits, wilson_interval
from tests.reference.plain_statistics import plain_top_k_hit, plain_wilson

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
