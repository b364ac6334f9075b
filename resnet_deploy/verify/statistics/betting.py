"""Bounds of a mean that hold at every look at once, so that one may stop as soon as they say enough.

Against the hypothesis that the mean is `m` or more, a gambler bets on every image that its value is smaller: the wealth is
multiplied by 1 + bet * (m - value). Under the hypothesis no such wealth is expected to grow, so it reaches 1 / level
with a probability of at most `level`, whenever one looks (Ville's inequality). Every `m` at which it did is ruled out.
The wealth is the mean over several fixed bets, so it needs the counts of the values alone.
"""

from __future__ import annotations

__all__ = ["log_wealth", "lower_bound", "upper_bound"]

import math
from collections.abc import Sequence

import numpy as np

_SHARES = np.geomspace(0.002, 0.95, 30)
"""Bets as shares of the largest that can not lose everything. The best one for a gap g to the limit is about g over
the share of differing images: 0.1 points of 30 % and 5 points of 1 % lie both within."""

_BISECTIONS = 40


def log_wealth(counts: Sequence[int], values: Sequence[float], mean: float) -> float:
    """Logarithm of the wealth of the bets against the hypothesis that the mean is `mean` or more.

    It does not fall as `mean` rises.

    Args:
        counts: How often each of the values was seen.
        values: All that one image can give.
        mean: At the largest value the hypothesis allows no other; one that was seen rules it out, with infinite wealth.
    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal
        Statistical Society B 86 (2024) 1-27: the capital process, and the mean over a grid of constant bets.
    """
    seen = [(count, value) for count, value in zip(counts, values, strict=True) if count]
    if mean >= max(values):
        return math.inf if any(value < max(values) for _, value in seen) else 0.0
    bets = _SHARES / (max(values) - mean)
    each = sum((count * np.log1p(bets * (mean - value)) for count, value in seen), np.zeros(len(bets)))
    largest = float(each.max())
    return largest + math.log(float(np.exp(each - largest).mean()))


def upper_bound(counts: Sequence[int], values: Sequence[float], level: float) -> float:
    """The smallest mean that the bets rule out, to 1e-10 and never too small; the largest value where none is.

    With probability 1 - level it is over the true mean at all looks together.

    Args:
        counts, values: As for `log_wealth`.
    """
    count, largest = sum(counts), float(max(values))
    if count == 0:
        return largest
    low, high = sum(c * v for c, v in zip(counts, values, strict=True)) / count, largest
    wanted = -math.log(level)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle >= largest or middle <= low:
            break
        low, high = (low, middle) if log_wealth(counts, values, middle) >= wanted else (middle, high)
    return high


def lower_bound(counts: Sequence[int], values: Sequence[float], level: float) -> float:
    """As `upper_bound`, from below."""
    return -upper_bound(counts, [-value for value in values], level)
