"""Slow, plain versions of the statistics in `core.metrics` and `verify`, written from their definitions."""

from __future__ import annotations

import math


def plain_top_k_hit(row: list[float], label: int, k: int) -> bool:
    """Rank classes by (logit descending, index ascending) and look among the first k; NaN anywhere: no."""
    if any(math.isnan(x) for x in row):
        return False
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    return label in order[:k]


def plain_wilson(hits: int, count: int) -> tuple[float, float]:
    """The p for which (p_hat - p)^2 = z^2 p (1 - p) / n, by bisection on either side of p_hat (Wilson 1927)."""
    z = 1.959963984540054
    p_hat = hits / count

    def inside(p: float) -> bool:
        return (p_hat - p) ** 2 <= z * z * p * (1 - p) / count

    return _edge(inside, p_hat, 0.0), _edge(inside, p_hat, 1.0)


def _edge(inside, good: float, bad: float) -> float:
    if inside(bad):
        return bad
    for _ in range(200):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if inside(middle) else (good, middle)
    return good
