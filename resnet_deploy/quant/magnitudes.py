"""How often a tensor holds values of each magnitude, from the smallest float to the largest."""

from __future__ import annotations

__all__ = ["MagnitudeHistogram"]

import numpy as np

from resnet_deploy.core.errors import CalibrationError

_SHIFT = 20  # a float32 without its sign and its last 20 bits: 8 bits of exponent, 3 of mantissa
_NUM_BINS = 1 << (31 - _SHIFT)
_CHUNK = 1 << 16
"""Values handled at a time, so that the intermediate arrays stay in the processor's cache."""


class MagnitudeHistogram:
    """Counts of |x| in eighths of an octave, over the whole range of float32.

    `quant.statistics.TensorStatistics` has equal bins up to the largest value, as int8 has; this one has bins that
    grow with the value, as floats have. Its edges hold every power of two, so counts below one are exact, and
    everything is a function of the multiset of values: batch size and order leave no trace.

    Attributes:
        counts: [2048] int64; bin i begins at the float32 whose bits are i * 2^20. Exact zeros are in none.
        num_zeros: Exact zeros.
        largest: max|x|; 0 before the first value.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_NUM_BINS, dtype=np.int64)
        self.num_zeros = 0
        self.largest = 0.0

    @property
    def num_nonzero(self) -> int:
        """How many values other than 0 were seen."""
        return int(self.counts.sum())

    @property
    def mean_square(self) -> float:
        """Of the values other than 0; every bin stands at its middle. 0 before the first."""
        return float((self.counts * _middles() ** 2).sum()) / max(self.num_nonzero, 1)

    def update(self, values: np.ndarray, *, name: str = "tensor") -> None:
        """Add all values of a float32 array of any shape.

        Raises:
            CalibrationError: A value is NaN or infinite; names the tensor. Nothing was added.
        """
        if values.size == 0:
            return
        largest = max(abs(float(values.min())), abs(float(values.max())))
        if not np.isfinite(largest):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise CalibrationError(
                f"tensor {name!r}: {bad} of {values.size} values are NaN or infinite in FP32 already",
                remedy="check the network's weights and the preprocessing in its manifest",
            )
        self.largest = max(self.largest, largest)
        bits = np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)
        for start in range(0, bits.size, _CHUNK):
            magnitudes = bits[start : start + _CHUNK] & np.uint32(0x7FFFFFFF)
            num_zeros = magnitudes.size - int(np.count_nonzero(magnitudes))
            self.counts += np.bincount(magnitudes >> np.uint32(_SHIFT), minlength=_NUM_BINS)
            self.counts[0] -= num_zeros
            self.num_zeros += num_zeros

    def merge(self, other: MagnitudeHistogram) -> None:
        """Add what another one saw."""
        self.counts += other.counts
        self.num_zeros += other.num_zeros
        self.largest = max(self.largest, other.largest)

    def share_below(self, threshold: float) -> float:
        """Share of the values other than 0 with |x| < threshold; exact where that is a bin's edge.

        Elsewhere the values of the bin that it cuts count as spread evenly over it.
        """
        return float(self._part_below(threshold) @ self.counts) / max(self.num_nonzero, 1)

    def energy_below(self, threshold: float) -> float:
        """Share of the sum of squares that values with |x| < threshold have; every bin stands at its middle."""
        squares = self.counts * _middles() ** 2
        total = float(squares.sum())
        return float(self._part_below(threshold) @ squares) / total if total > 0 else 0.0

    def _part_below(self, threshold: float) -> np.ndarray:
        """[2048] how much of each bin lies below `threshold`, 0 to 1."""
        edges = _edges()
        return np.clip((threshold - edges[:-1]) / np.diff(edges), 0.0, 1.0)


def _edges() -> np.ndarray:
    """[2049] float64 first values of the bins; those of infinity and NaN, always empty, go on as finite numbers do."""
    bins = np.arange(_NUM_BINS + 1)
    exponent, mantissa = bins >> 3, bins & 7
    normal = np.ldexp(1 + mantissa / 8, exponent - 127)
    return np.where(exponent == 0, np.ldexp(mantissa / 8, -126), normal)


def _middles() -> np.ndarray:
    """[2048] float64 middles of the bins."""
    edges = _edges()
    return (edges[:-1] + edges[1:]) / 2
