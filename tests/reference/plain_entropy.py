"""Entropy calibration written as the slides describe it, bin by bin; the oracle of `quant.scales.entropy_amax`.

Source: Migacz, "8-bit Inference with TensorRT", GTC 2017, slides 38 and 39 (pseudocode).
"""

from __future__ import annotations

__all__ = ["entropy_bins"]

import math


def entropy_bins(counts: list[int], *, levels: int = 128) -> int:
    """Number of bins that the best threshold keeps."""
    used = max(i for i, c in enumerate(counts) if c) + 1
    best, best_divergence = used, math.inf
    for i in range(levels, used + 1):
        p = [float(c) for c in counts[:i]]
        p[-1] += sum(counts[i:used])
        q = [0.0] * i
        for level in range(levels):
            start, stop = level * i // levels, (level + 1) * i // levels
            filled = [b for b in range(start, stop) if counts[b]]
            for b in filled:
                q[b] = sum(counts[start:stop]) / len(filled)
        divergence = 0.0
        for a, b in zip(p, q, strict=True):
            if a and not b:
                divergence = math.inf
            elif a:
                a, b = a / sum_of(p), b / sum_of(q)
                divergence += a * math.log(a / b)
        # Equal divergences computed in another order differ in their last digits.
        if divergence < best_divergence - 1e-12:
            best, best_divergence = i, divergence
    return best


def sum_of(values: list[float]) -> float:
    """Sum of a list; cached by identity would be faster, plain is the point."""
    return math.fsum(values)
