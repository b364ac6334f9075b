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


def plain_tango_statistic(b: int, c: int, n: int, drop: float) -> float:
    """(b - c - n * drop) over its deviation at the shares that make b, c, n - b - c likeliest, found by a search.

    From the definition of the efficient score in Tango 1998: no closed form of the restricted estimate is used.
    """
    from scipy.optimize import minimize_scalar

    def unlikely(share: float) -> float:  # share: of images that only the candidate has right
        cells = ((b, share + drop), (c, share), (n - b - c, 1 - 2 * share - drop))
        if any(p < 0 or (p == 0 and k > 0) for k, p in cells):
            return math.inf
        return -sum(k * math.log(p) for k, p in cells if k)

    low, high = max(0.0, -drop), (1 - drop) / 2
    found = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    share = min((found.x, low, high), key=unlikely)
    return (b - c - n * drop) / math.sqrt(n * (2 * share + drop - drop * drop))


def plain_mcnemar(b: int, c: int) -> tuple[float, float]:
    """Exact and mid-p two-sided values by adding up whole numbers: splits at least as uneven as the one seen.

    Mid-p takes half of what is just as uneven away, which is the probability of the split seen itself; 1 for an even one.
    """
    total = 2 ** (b + c)
    as_uneven = sum(math.comb(b + c, k) for k in range(b + c + 1) if abs(2 * k - b - c) >= abs(b - c))
    return as_uneven / total, (as_uneven - math.comb(b + c, b)) / total if b != c else 1.0
