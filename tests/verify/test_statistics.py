from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.verify.statistics import paired_drop_interval


def test_interval_covers_the_true_drop_about_as_often_as_it_says() -> None:
    # 2,000 draws: the standard error of a 95 % coverage is 0.5 points; 4 of them on either side, and the interval is
    # known to be conservative for few differing pairs, so only the lower side is tight.
    rng = np.random.default_rng(0)
    n, p_lost, p_won = 600, 0.02, 0.01
    covered = 0
    for lost, won, _ in rng.multinomial(n, [p_lost, p_won, 1 - p_lost - p_won], size=2000):
        low, high = paired_drop_interval(int(lost), int(won), n)
        covered += low <= 100 * (p_lost - p_won) <= high
    assert 0.93 <= covered / 2000 <= 0.99


def test_interval_is_symmetric_and_never_empty() -> None:
    low, high = paired_drop_interval(0, 0, 599)
    assert low < 0 < high and low == pytest.approx(-high)
    a, b = paired_drop_interval(9, 2, 100), paired_drop_interval(2, 9, 100)
    assert a == pytest.approx((-b[1], -b[0]))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="7 \\+ 5 differing images of 10"):
        paired_drop_interval(7, 5, 10)
