"""Classification counts on plain arrays: top-k, and what a sample can and can not say of a proportion or a loss."""

from __future__ import annotations

__all__ = ["paired_drop_interval", "top_k_hits", "wilson_interval"]

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


def paired_drop_interval(only_reference: int, only_candidate: int, count: int) -> tuple[float, float]:
    """95 % interval of the loss of accuracy between two networks that saw the same images, in points.

    Images on which both are right or both are wrong carry no sign, so the pairs are far sharper than the
    difference of two separate intervals.

    Args:
        only_reference: Images that only the reference has right.
        only_candidate: Images that only the candidate has right.
        count: All images.
    Source: Agresti and Min, Statistics in Medicine 24 (2005) 729-740: Wald's interval after adding 1/2 to each
        of the four cells, which keeps its coverage where few images differ.
    """
    if count < 1 or min(only_reference, only_candidate) < 0 or only_reference + only_candidate > count:
        raise ValueError(f"{only_reference} + {only_candidate} differing images of {count} can not be")
    b, c, n = only_reference + 0.5, only_candidate + 0.5, count + 2.0
    drop = (b - c) / n
    half = _Z95 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return 100 * max(-1.0, drop - half), 100 * min(1.0, drop + half)
