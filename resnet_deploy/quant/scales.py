"""From a tensor's statistics to its scale: how much of the range int8 covers, and what is clipped."""

from __future__ import annotations

__all__ = [
    "METHODS",
    "SIGNED_LEVELS",
    "UNSIGNED_LEVELS",
    "Amax",
    "amax_of",
    "checked_method",
    "entropy_amax",
    "max_amax",
    "mse_amax",
    "percentile_amax",
    "scale_of_amax",
]

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.quant.statistics import NUM_BINS, TensorStatistics

SIGNED_LEVELS = 128
"""Magnitudes that symmetric int8 represents: 0 to 127."""
UNSIGNED_LEVELS = 256
"""Those of a tensor that is never negative and uses all of int8, see `quant.unsigned`: 0 to 255."""


class Amax(NamedTuple):
    """The largest magnitude that shall be represented.

    Attributes:
        signed: With SIGNED_LEVELS.
        unsigned: With UNSIGNED_LEVELS, of which more can be spent on large values; None for a tensor with negative ones.
    """

    signed: float
    unsigned: float | None


def scale_of_amax(amax: float) -> float:
    """Scale of symmetric int8 that maps `amax` to 127; a tensor that is always zero gets 1.

    Source: ONNX QuantizeLinear; arXiv:1712.05877, section 2.1.
    """
    return amax / (SIGNED_LEVELS - 1) if amax > 0 else 1.0


def max_amax(statistics: TensorStatistics, levels: int = SIGNED_LEVELS) -> float:
    """The largest |x| seen: nothing is clipped, so one outlier coarsens every other value."""
    return statistics.largest


def entropy_amax(statistics: TensorStatistics, levels: int = SIGNED_LEVELS) -> float:
    """The threshold whose quantised distribution loses the least information (Kullback-Leibler divergence).

    For every candidate threshold of i bins (`levels` <= i <= bins in use): P is the first i bins with what lies
    beyond added to the last one; Q spreads each of `levels` equal groups of the first i bins evenly over those of
    the group's bins that are not empty. The i with the smallest KL(P || Q) wins, the smallest i on a tie.
    Exact zeros have no part in it (int8 represents them exactly at any scale).

    Source: Migacz, "8-bit Inference with TensorRT", GTC 2017, slides 28 to 34 (2048 bins, 128 levels).
    Here the bins in use are between 2048 and 4096, because bin widths are powers of two.
    """
    counts = statistics.counts.astype(np.float64)
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if used <= levels:
        return statistics.largest
    candidates = np.arange(levels, used + 1)
    best = int(candidates[np.argmin(_divergences(counts[:used], candidates, levels))])
    return min(best * statistics.bin_width, statistics.largest)


def _divergences(counts: np.ndarray, candidates: np.ndarray, levels: int) -> np.ndarray:
    """KL(P || Q) for thresholds of i bins, all `candidates` at once.

    P = counts[:i] / total with the outliers in bin i - 1; Q is constant over the filled bins of each group.
    KL = sum p log p - sum p log q. Within a group log q is one number, so only sums over groups are needed,
    and those are differences of running sums S(i) over the bins below i.
    """
    sums = np.concatenate(([0.0], np.cumsum(counts)))
    filled = np.concatenate(([0.0], np.cumsum(counts > 0)))
    plogp = np.concatenate(([0.0], np.cumsum(_times_log(counts, counts))))
    edges = _group_edges(levels)[candidates - levels]
    group = np.diff(sums[edges], axis=1)
    mean = group / np.maximum(np.diff(filled[edges], axis=1), 1)
    below = sums[candidates]
    outliers = sums[-1] - below
    last = counts[candidates - 1]
    p_log_p = plogp[candidates - 1] + _times_log(last + outliers, last + outliers)
    p_log_q = _times_log(group, mean).sum(axis=1) + _times_log(outliers, mean[:, -1])
    # With P = p / total and Q = q / S(i): KL = (p_log_p - p_log_q) / total - log(total) + log(S(i)).
    with np.errstate(divide="ignore"):
        divergences = (p_log_p - p_log_q) / sums[-1] - np.log(sums[-1]) + np.log(below)
    divergences[(last == 0) & (outliers > 0)] = np.inf  # P has weight where Q has none
    return divergences


def _times_log(factor: np.ndarray, value: np.ndarray) -> np.ndarray:
    """factor * log(value), and 0 where value is 0."""
    return factor * np.log(np.where(value > 0, value, 1.0))


@lru_cache(maxsize=2)
def _group_edges(levels: int) -> np.ndarray:
    """[candidates, levels + 1] first bins of the groups, for every threshold from `levels` to NUM_BINS bins."""
    candidates = np.arange(levels, NUM_BINS + 1)
    return (candidates[:, None] * np.arange(levels + 1) // levels).astype(np.int32)


def mse_amax(statistics: TensorStatistics, levels: int = SIGNED_LEVELS) -> float:
    """The threshold with the smallest mean squared quantisation error over the histogram, clipping included.

    Candidates are 256 equal steps from a quarter of max|x| to max|x|; every bin stands at its middle.
    The largest candidate wins a tie.

    Source: Wu et al., arXiv:2004.09602, section 3.3 (calibration by search on the same histogram).
    """
    used = np.flatnonzero(statistics.counts)
    if used.size == 0:
        return statistics.largest
    middles = (used + 0.5) * statistics.bin_width
    counts = statistics.counts[used].astype(np.float64)
    candidates = statistics.largest * np.linspace(1.0, 0.25, 256)
    errors = []
    for amax in candidates:
        scale = amax / (levels - 1)
        errors.append(np.dot(counts, (np.minimum(np.rint(middles / scale), levels - 1) * scale - middles) ** 2))
    return float(candidates[int(np.argmin(errors))])


def percentile_amax(statistics: TensorStatistics, percent: Fraction) -> float:
    """The upper edge of the bin in which that percentile of |x| lies, at most max|x|; 0 where it is an exact zero.

    At least `percent` of all values seen, zeros included, are at most the result, and none of a lower bin is cut.
    The rank is exact: no rounding of a fraction of the count decides.

    Source: Wu et al., arXiv:2004.09602, section 3.3 (99.9 to 99.9999 %).
    """
    rank = -(-percent * statistics.num_values // 100)  # ceiling
    in_bins = rank - statistics.num_zeros
    if in_bins <= 0:
        return 0.0
    index = int(np.searchsorted(np.cumsum(statistics.counts), int(in_bins)))
    return min((index + 1) * statistics.bin_width, statistics.largest)


METHODS: dict[str, Callable[[TensorStatistics, int], float]] = {
    "entropy": entropy_amax,
    "max": max_amax,
    "mse": mse_amax,
}
"""Name -> how the largest magnitude that int8 represents is chosen. All of them read the same statistics.
`percentile:P` is beside them because it takes a number."""

_PERCENTILE = "percentile"


def checked_method(method: str) -> str:
    """The one spelling of a method: a name of METHODS, or "percentile:P" without needless digits.

    Raises:
        ConfigError: Unknown method, or a percentile that is no number in (0, 100].
    """
    name, _, number = method.partition(":")
    if method in METHODS:
        return method
    if name != _PERCENTILE:
        raise ConfigError(
            f"unknown calibration method {method!r}",
            remedy=f"known methods: {', '.join(METHODS)}, {_PERCENTILE}:99.99, and auto, which looks at a whole network",
        )
    try:
        percent = Decimal(number)
    except InvalidOperation:
        percent = Decimal("NaN")
    if not (percent.is_finite() and 0 < percent <= 100):
        raise ConfigError(
            f"calibration method {method!r}: {number!r} is not a number above 0 and up to 100",
            remedy=f"write {_PERCENTILE}:99.99, say",
        )
    digits = f"{percent:f}"
    return f"{_PERCENTILE}:{digits.rstrip('0').rstrip('.') if '.' in digits else digits}"


def amax_of(statistics: TensorStatistics, method: str, levels: int = SIGNED_LEVELS) -> float:
    """The largest magnitude that int8 shall represent; 0 where only zeros were seen, or the percentile is a zero.

    Args:
        levels: How many magnitudes there are to represent it with, zero included.
    Raises:
        ConfigError: Unknown method; lists the known ones.
    """
    name, _, number = checked_method(method).partition(":")
    return percentile_amax(statistics, Fraction(number)) if name == _PERCENTILE else METHODS[name](statistics, levels)
