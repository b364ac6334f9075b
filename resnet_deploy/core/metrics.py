"""Classification counts on plain arrays: top-k and the interval of a proportion."""

from __future__ import annotations

__all__ = ["top_k_hits", "wilson_interval"]

import math

import numpy as np

_Z95 = 1.959963984540054
"""97.5 % point of the normal distribution: a two-sided 95 % interval."""


def top_k_hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the true class is among the k largest logits of each row.

    Of equal logits the one with the smaller class index ranks first, as `argmax` does, so exactly k classes of a
    row are in its top k. A row that holds a NaN hits nothing.

    Args:
        logits: [N, K] floating point.
        labels: [N] integers in [0, K).
        k: At least 1; more than K counts as K.
    Returns:
        [N] bool.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} are not [N, K] and [N]")
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if len(labels) and not (0 <= labels.min() and labels.max() < logits.shape[1]):
        raise ValueError(f"labels {labels.min()} .. {labels.max()} are not all in 0 .. {logits.shape[1] - 1}")
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = np.arange(logits.shape[1])[None, :] < labels[:, None]
    rank = ((logits > own) | ((logits == own) & before)).sum(axis=1)
    return (rank < k) & ~np.isnan(logits).any(axis=1)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion of which `hits` in `count` were seen; (0, 1) where count is 0.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. It keeps its coverage for proportions near 0 and 1,
    where the textbook interval p +- z * sqrt(p (1 - p) / n) does not.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count} is not a proportion")
    if count == 0:
        return 0.0, 1.0
    p, z2 = hits / count, _Z95 * _Z95
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)
