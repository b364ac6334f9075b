"""What consecutive passes can and can not say: intervals, noise floor and drift of correlated samples.

The time of a pass resembles that of the pass before it (clocks, caches, neighbours change slowly), so that formulas for
independent samples give intervals that are far too narrow. Everything here therefore works on blocks: the samples are
cut into consecutive blocks, long against the correlation, and the blocks are the units.
"""

from __future__ import annotations

__all__ = [
    "CONFIDENCE",
    "Drift",
    "block_medians",
    "correlation_inflation",
    "drift_of",
    "mean_interval",
    "noise_floor_of",
    "quantile_intervals",
]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

CONFIDENCE = 0.95
"""Of every interval of a single row."""

NUM_BLOCKS = 20
"""Schmeiser, Operations Research 30 (1982) 556-568: more than about 30 batches gain nothing, under 10 lose much."""

_LEAST_BLOCKS = 5
_LEAST_BEYOND = 5  # samples beyond a quantile, under which its interval means nothing
_RESAMPLES = 600
_GRID = 512  # values at which the distribution is evaluated; more do not change an interval visibly
_Q95 = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Whether passes became slower or faster while they were timed.

    Attributes:
        change: Median of the last third over that of the first, minus 1.
        p_value: Of no trend.
    """

    change: float
    p_value: float


def blocks_of(samples: np.ndarray) -> list[np.ndarray]:
    """[N] samples in order -> at most NUM_BLOCKS consecutive blocks whose sizes differ by at most one."""
    return np.array_split(samples, min(NUM_BLOCKS, len(samples)))


def block_medians(samples: np.ndarray) -> np.ndarray:
    """Median of each consecutive block, [at most NUM_BLOCKS]."""
    return np.array([np.median(block) for block in blocks_of(samples)])


def correlation_inflation(values: np.ndarray) -> float:
    """How much larger the variance of the mean of [B] consecutive values is than if they were independent; at least 1.

    (1 + r) / (1 - r) with r the correlation of neighbours, corrected for its bias in short series.

    Source: Bayley and Hammersley, J. R. Stat. Soc. Suppl. 8 (1946) 184-197; bias of r, -(1 + 3 r) / B: Marriott and
        Pope, Biometrika 41 (1954) 390-402.
    """
    centred = values - values.mean()
    total = float(centred @ centred)
    count = len(values)
    if count < _LEAST_BLOCKS or total <= 0:
        return 1.0
    r = float(centred[:-1] @ centred[1:]) / total
    r = min((r * count + 1) / (count - 3), 0.9)
    return max(1.0, (1 + r) / (1 - r))


def mean_interval(samples: np.ndarray, *, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Interval of the mean of [N] consecutive samples; None for fewer than five.

    Student's t over the means of consecutive blocks, widened where even the blocks are correlated.

    Source: method of batch means, Law and Kelton, Simulation Modeling and Analysis, section 9.5.3.
    """
    if len(samples) < _LEAST_BLOCKS:
        return None
    means = np.array([block.mean() for block in blocks_of(samples)])
    error = math.sqrt(means.var(ddof=1) / len(means) * correlation_inflation(means))
    half = student_t(confidence, len(means) - 1) * error
    centre = float(samples.mean())
    return max(0.0, centre - half), centre + half


def quantile_intervals(
    samples: np.ndarray, quantiles: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0
) -> list[tuple[float, float] | None]:
    """Intervals of quantiles of [N] consecutive positive samples; None where fewer than five lie beyond one.

    Bootstrap over consecutive blocks (whole blocks are drawn, so that what is correlated stays together), percentile
    interval with the level expanded for the small number of blocks, and widened where even the blocks are correlated.
    All quantiles share one set of resamples, which is why this is not `scipy.stats.bootstrap`: it costs a few ms.

    Source: block bootstrap: Carlstein, Annals of Statistics 14 (1986) 1171-1179, and Kunsch, ibid. 17 (1989)
        1217-1241; expanded percentile interval: Hesterberg, The American Statistician 69 (2015) 371-386, section 5.3.
    """
    count = len(samples)
    useful = [count >= _LEAST_BLOCKS and (q == 0.5 or count * min(q, 1 - q) >= _LEAST_BEYOND) for q in quantiles]
    if not any(useful):
        return [None] * len(quantiles)
    ordered = np.sort(samples)
    grid = ordered[np.unique(np.linspace(0, count - 1, min(count, _GRID)).round().astype(int))]
    blocks = blocks_of(samples)
    below = np.array([np.searchsorted(np.sort(block), grid, side="right") for block in blocks], dtype=np.float32)
    rng, num = np.random.default_rng(seed), len(blocks)
    drawn = rng.multinomial(num, np.full(num, 1 / num), size=_RESAMPLES).astype(np.float32)
    share = (drawn @ below) / (drawn @ below[:, -1])[:, None]  # [resamples, grid], rising along the grid
    tail = _expanded_tail(confidence, num)
    widening = math.sqrt(correlation_inflation(block_medians(samples)))
    result: list[tuple[float, float] | None] = []
    for q, use in zip(quantiles, useful, strict=True):
        if not use:
            result.append(None)
            continue
        values = grid[np.minimum((share < q - 1e-6).sum(axis=1), len(grid) - 1)]
        low, high = np.quantile(values, (tail, 1 - tail))
        at = np.quantile(ordered, q, method="inverted_cdf")
        low, high = min(low, at), max(high, at)
        # as a factor, not as a difference: a time stays above zero
        result.append((float(at * (low / at) ** widening), float(at * (high / at) ** widening)))
    return result


def noise_floor_of(samples: np.ndarray) -> float | None:
    """What an A/A comparison within these samples would take for a difference: 95 % quantile of |ratio - 1|.

    Neighbouring blocks form pairs, one of each is called A and the other B, and the ratio is that of the geometric
    means of their medians. All ways to name them (1,024 for 20 blocks) are equally likely where nothing differs, so
    the quantile over all of them needs no assumption on the noise. Slow changes are met by both halves alike.

    Returns:
        None for fewer than ten blocks.
    Source: randomisation distribution of a paired design, Fisher, The Design of Experiments (1935), section 21.
    """
    medians = block_medians(samples)
    if len(medians) < NUM_BLOCKS // 2:
        return None
    pairs = np.log(medians[: len(medians) // 2 * 2]).reshape(-1, 2)
    ratios = np.exp(np.abs(_signs(len(pairs)) @ (pairs[:, 0] - pairs[:, 1])) / len(pairs)) - 1
    return float(np.quantile(ratios, _Q95, method="inverted_cdf"))


def drift_of(samples: np.ndarray) -> Drift | None:
    """Trend over the samples' order; None for fewer than ten blocks.

    Kendall's rank correlation of the blocks' medians with time; the blocks, not the samples, because the test takes
    its values for independent.

    Source: Mann, Econometrica 13 (1945) 245-259; ties: Kendall, Rank Correlation Methods, 4th ed., section 4.
    """
    medians = block_medians(samples)
    count = len(medians)
    if count < NUM_BLOCKS // 2:
        return None
    third = max(1, len(samples) // 3)
    change = float(np.median(samples[-third:]) / np.median(samples[:third]) - 1)
    score = float(np.sign(np.subtract.outer(medians, medians))[np.tril_indices(count, -1)].sum())
    ties = np.unique(medians, return_counts=True)[1].astype(float)
    variance = (count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    if variance <= 0:
        return Drift(change=change, p_value=1.0)
    z = max(0.0, abs(score) - 1) / math.sqrt(variance)  # less 1: the score moves in steps of two
    return Drift(change=change, p_value=math.erfc(z / math.sqrt(2)))


def student_t(confidence: float, degrees: float) -> float:
    """Two-sided quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _expanded_tail(confidence: float, num: int) -> float:
    from scipy.special import ndtr

    return float(ndtr(-math.sqrt(num / (num - 1)) * student_t(confidence, num - 1)))


@cache
def _signs(count: int) -> np.ndarray:
    """All ways to choose signs for `count` pairs but for a common flip, [2**(count - 1), count]."""
    bits = np.arange(2 ** (count - 1))[:, None] >> np.arange(count)
    return 1.0 - 2.0 * (bits & 1)
