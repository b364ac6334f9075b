"""Percentiles of a stream of magnitudes in bounded memory, each within a stated share of the true one."""

from __future__ import annotations

__all__ = ["RELATIVE_ACCURACY", "ErrorHistogram"]

import math

import numpy as np

_BITS = 6
_SHIFT = 23 - _BITS
"""Of a float32's mantissa, `_BITS` bits name its bin; 8 bits of exponent stand before them."""

RELATIVE_ACCURACY = 2.0 ** -(_BITS + 1)
"""A bin is 2^-6 of its lower edge wide, and stands for its middle: 0.8 %."""


class ErrorHistogram:
    """Counts magnitudes in bins whose width is a fixed share of the value: 64 to each doubling, 128 KiB in all.

    The bin of a value is the front of its float32: no logarithm is taken, and the cost is one pass. Zero has a bin of its
    own; magnitudes under 1.2e-38 count as zero, those over 3.4e38 as that.

    Source: HdrHistogram (Tene) for bins cut from the bits of a number; the guarantee is DDSketch's (Masson, Rim and
        Lee, PVLDB 12 (2019) 2195-2205).
    """

    def __init__(self) -> None:
        self._counts = np.zeros(1 << (8 + _BITS), dtype=np.int64)

    def add(self, magnitudes: np.ndarray) -> None:
        """Finite values of 0 or more, of any shape."""
        limits = np.finfo(np.float32)
        values = np.minimum(magnitudes, limits.max).astype(np.float32).ravel()
        bins = values.view(np.uint32) >> _SHIFT
        bins[values < limits.tiny] = 0
        self._counts += np.bincount(bins, minlength=len(self._counts))

    def percentile(self, percent: float) -> float | None:
        """The smallest magnitude that is not under `percent` % of all; None where nothing was added."""
        total = int(self._counts.sum())
        if total == 0:
            return None
        rank = max(1, math.ceil(percent / 100 * total - 1e-9 * total))
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        if place == 0:
            return 0.0
        edge = float(np.array(place << _SHIFT, dtype=np.uint32).view(np.float32))
        return edge * (1 + _half_width(place))


def _half_width(place: int) -> float:
    """Half of a bin's width as a share of its lower edge: the mantissa's step, over the mantissa."""
    return 2.0 ** -(_BITS + 1) / (1 + (place & ((1 << _BITS) - 1)) / (1 << _BITS))
