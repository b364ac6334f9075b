"""The ratio of two times from pairs that were measured next to each other, and what may be said of it."""

from __future__ import annotations

__all__ = ["CLAIM_CONFIDENCE", "LEAST_DIFFERENCE", "Ratio", "ratio_of_rounds", "say_ratio"]

import math
from dataclasses import dataclass

import numpy as np

from resnet_deploy.bench.measure.intervals import correlation_inflation, student_t
from resnet_deploy.core.errors import ConfigError

CLAIM_CONFIDENCE = 0.99
"""Of a claim that two things differ: of a hundred comparisons of a thing with itself one is wrong, not five."""

LEAST_DIFFERENCE = 0.01
"""Differences below are called none, however sharp: two copies of one program differ by so much by where they lie in
memory alone (Mytkowicz et al., Producing wrong data without doing anything obviously wrong, ASPLOS 2009, section 4)."""

_LEAST_ROUNDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A time over another.

    Attributes:
        ratio: Geometric mean over the rounds.
        low, high: Interval of it.
        confidence: Of the interval.
        p_value: Of a ratio of 1.
        num_rounds: Pairs it was made from.
        noise_floor: Differences below are called none.
        differs: Whether the interval leaves 1 out and the difference is over the noise floor.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    p_value: float
    num_rounds: int
    noise_floor: float
    differs: bool


def ratio_of_rounds(
    log_ratios: np.ndarray, *, noise_floor: float = LEAST_DIFFERENCE, confidence: float = CLAIM_CONFIDENCE
) -> Ratio:
    """Student's t on the logarithms of the rounds' ratios, widened where neighbouring rounds are correlated.

    What changes slowly (clock, heat, neighbours) meets both sides of a round alike and leaves its ratio alone; that is
    the point of pairing.

    Args:
        log_ratios: [at least 5], in the order of the rounds.
        noise_floor: Of this comparison; never taken under LEAST_DIFFERENCE.
    Source: paired comparison of systems: Law and Kelton, Simulation Modeling and Analysis, section 10.2.1.
    """
    count = len(log_ratios)
    if count < _LEAST_ROUNDS:
        raise ConfigError(f"{count} rounds can not be compared, {_LEAST_ROUNDS} are needed")
    mean = float(log_ratios.mean())
    variance = float(log_ratios.var(ddof=1)) / count * correlation_inflation(log_ratios)
    error = math.sqrt(variance)
    half = student_t(confidence, count - 1) * error
    floor = max(noise_floor, LEAST_DIFFERENCE)
    return Ratio(
        ratio=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        confidence=confidence,
        p_value=two_sided_p(mean, error, count - 1),
        num_rounds=count,
        noise_floor=floor,
        differs=abs(mean) > half and math.exp(abs(mean)) - 1 > floor,
    )


def two_sided_p(value: float, error: float, degrees: float) -> float:
    """Of a true value of 0, by Student's t."""
    if error <= 0:
        return 1.0 if value == 0 else 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(value) / error))


def say_ratio(ratio: Ratio, first: str, other: str) -> str:
    """The verdict in one sentence; `ratio` is the other's time over the first's."""
    between = f"{min(ratio.low, ratio.high):.3f} to {max(ratio.low, ratio.high):.3f}"
    if not ratio.differs:
        why = (
            "the interval contains 1"
            if ratio.low <= 1 <= ratio.high
            else f"under the noise floor of {ratio.noise_floor:.1%}"
        )
        return f"no difference between {first} and {other}: {ratio.ratio:.3f} ({between}), {why}"
    if ratio.ratio > 1:
        return f"{first} is {ratio.ratio:.3f} ({between}) times as fast as {other}"
    between = f"{1 / ratio.high:.3f} to {1 / ratio.low:.3f}"
    return f"{other} is {1 / ratio.ratio:.3f} ({between}) times as fast as {first}"
