"""Passes before the first sample, until they take the same time again and again."""

from __future__ import annotations

__all__ = ["WarmUp", "warm_up"]

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_STEADY = 1.05
_ROUNDS = 3
_ROUND_SHARE = 0.1
"""A round lasts about this share of the sampling time."""
_MOST_PASSES = 50
_KEPT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """How warm-up ended.

    Attributes:
        passes: Made before the first sample.
        seconds: It took.
        steady: Whether the rule was met; False where the time was up before.
        rule: How that was decided, in words.
        round_medians_ms: Median pass of the last rounds, oldest first, at most eight.
    """

    passes: int
    seconds: float
    steady: bool
    rule: str
    round_medians_ms: tuple[float, ...] = ()


def warm_up(
    seconds_of: Callable[[int], np.ndarray],
    *,
    round_seconds: float,
    max_seconds: float,
    clock: Callable[[], float],
) -> tuple[WarmUp, float]:
    """Run rounds of passes until the medians of three in a row lie within 5 %, or the time is up.

    A GPU raises its clock, compilers and caches fill in the first passes; three rounds in place of two, because a
    clock that rises in steps stands still for a moment.

    Args:
        seconds_of: Runs that many passes and gives their times.
        round_seconds: Length of a round, about; at most 50 passes.
    Returns:
        How it ended, and the seconds of one pass.
    """
    start = clock()
    last = float(seconds_of(1)[0])
    passes, medians, steady = 1, deque([last], maxlen=_KEPT), False
    while not steady and clock() - start < max_seconds:
        step = max(1, min(_MOST_PASSES, int(round_seconds / last)))
        last = float(np.median(seconds_of(step)))
        passes += step
        medians.append(last)
        recent = list(medians)[-_ROUNDS:]
        steady = len(recent) == _ROUNDS and max(recent) <= _STEADY * min(recent)
    took = clock() - start
    within = f"the medians of {_ROUNDS} rounds in a row within {_STEADY - 1:.0%}"
    rule = within if steady else f"not {within} after {took:.2g} s"
    result = WarmUp(
        passes=passes,
        seconds=took,
        steady=steady,
        rule=rule,
        round_medians_ms=tuple(1e3 * median for median in medians),
    )
    return result, last


def round_seconds_of(min_seconds: float) -> float:
    """Length of a warm-up round for a sampling time."""
    return _ROUND_SHARE * min_seconds
