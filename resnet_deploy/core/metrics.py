"""Classification counts on plain arrays: top-k, and what a sample can and can not say of a proportion or a loss."""

from __future__ import annotations

__all__ = [
    "holm",
    "label_ranks",
    "normal_quantile",
    "paired_drop_interval",
    "paired_drop_variance",
    "top_k_hits",
    "wilson_interval",
]

import functools
import math

import numpy as np

_BISECTIONS = 60
"""Halvings of an interval of length 2 at most: beyond float64."""


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of the true class among the logits of each row, 0 for the largest; K in a row that holds a NaN.

    Of equal logits the one with the smaller class index ranks first, as `argmax` does, so exactly k classes of a
    row have a rank under k.

    Args:
        logits: [N, K] floating point.
        labels: [N] integers in [0, K).
    Returns:
        [N] int64.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} are not [N, K] and [N]")
    if len(labels) and not (0 <= labels.min() and labels.max() < logits.shape[1]):
        raise ValueError(f"labels {labels.min()} .. {labels.max()} are not all in 0 .. {logits.shape[1] - 1}")
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = np.arange(logits.shape[1])[None, :] < labels[:, None]
    rank = ((logits > own) | ((logits == own) & before)).sum(axis=1)
    rank[np.isnan(logits).any(axis=1)] = logits.shape[1]
    return rank


def top_k_hits(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the true class is among the k largest logits of each row; see `label_ranks` for ties and NaN.

    Args:
        logits: [N, K] floating point.
        labels: [N] integers in [0, K).
        k: At least 1; more than K counts as K.
    Returns:
        [N] bool.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    return label_ranks(logits, labels) < min(k, np.asarray(logits).shape[1])


@functools.cache
def normal_quantile(probability: float) -> float:
    """The z under which a standard normal value stays with that probability."""
    from statistics import NormalDist  # the standard library's; 10 ms that only a measurement needs

    return NormalDist().inv_cdf(probability)


def wilson_interval(hits: int, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a proportion of which `hits` in `count` were seen; (0, 1) where count is 0.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212. It keeps its coverage for proportions near 0 and 1,
    where the textbook interval p +- z * sqrt(p (1 - p) / n) does not.
    """
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count} is not a proportion")
    if count == 0:
        return 0.0, 1.0
    z = normal_quantile((1 + confidence) / 2)
    p, z2 = hits / count, z * z
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_drop_interval(
    only_reference: int, only_candidate: int, count: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Two-sided interval of the loss of accuracy between two networks that saw the same images, in points.

    Images on which both are right or both are wrong carry no sign, so the pairs are far sharper than the
    difference of two separate intervals. The interval holds every loss that the score test does not reject; at a
    loss of 0 that test is McNemar's. Each of its ends is a one-sided bound of confidence (1 + confidence) / 2. Where
    no image differs it still ends at z^2 / n: no sample proves a loss of exactly 0.

    Args:
        only_reference: Images that only the reference has right.
        only_candidate: Images that only the candidate has right.
        count: All images.
    Source: Tango, Statistics in Medicine 17 (1998) 891-908 (the score-based interval); among those recommended by
        Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.
    """
    if count < 1 or min(only_reference, only_candidate) < 0 or only_reference + only_candidate > count:
        raise ValueError(f"{only_reference} + {only_candidate} differing images of {count} can not be")
    b, c, n = float(only_reference), float(only_candidate), float(count)
    z = normal_quantile((1 + confidence) / 2)
    return -100 * _upper_drop(c, b, n, z), 100 * _upper_drop(b, c, n, z)


def paired_drop_variance(only_reference: float, only_candidate: float, count: float, drop: float) -> float:
    """Variance of (only_reference - only_candidate) under the hypothesis that the loss is `drop`.

    The shares of images that only one side has right are the likeliest ones that differ by `drop`. At a drop of 0 this
    is the number of images that differ, as in McNemar's test.

    Args:
        only_reference, only_candidate, count: Numbers of images; or shares of 1, for what is expected of one image.
        drop: Share from -1 to 1.
    Source: Tango, as in `paired_drop_interval`.
    """
    b, c, n = only_reference, only_candidate, count
    linear = -b - c + (2 * n - b + c) * drop
    share = (math.sqrt(max(0.0, linear * linear + 8 * n * c * drop * (1 - drop))) - linear) / (4 * n)
    return max(0.0, n * (2 * share + drop * (1 - drop)))


def _upper_drop(b: float, c: float, n: float, z: float) -> float:
    """The largest loss that the score test does not reject: (b - c - n * drop) / deviation is -z or more."""
    low, high = (b - c) / n, 1.0
    for _ in range(_BISECTIONS):
        drop = (low + high) / 2
        held = n * drop - (b - c) <= z * math.sqrt(paired_drop_variance(b, c, n, drop))
        low, high = (drop, high) if held else (low, drop)
    return (low + high) / 2


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values: the smallest level at which each hypothesis falls while the family keeps that level.

    The i-th smallest (from 0) of m is multiplied by m - i, and none may be smaller than the one before it.

    Args:
        p_values: [M], each from 0 to 1.
    Returns:
        [M] in the same order.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. It needs no independence, and rejects whatever
        Bonferroni's correction rejects.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted
