"""What calibration remembers of images: extremes and histograms that do not depend on the order of images."""

from __future__ import annotations

__all__ = ["NUM_BINS", "Collected", "Statistics", "TensorStatistics"]

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.core.files import sha256_of_bytes

NUM_BINS = 4096
"""Bins of a histogram; the largest value lies in its upper half, so at least 2048 of them are in use."""

_CHUNK = 1 << 16
"""Values handled at a time, so that the intermediate arrays stay in the processor's cache: three times as fast."""


class Statistics(Protocol):
    """What counts the values of one tensor; what it knows must not depend on their order."""

    def update(self, values: np.ndarray, *, name: str = "tensor") -> None:
        """Add all values of a float32 array; CalibrationError where one is NaN or infinite."""

    def merge(self, other) -> None:
        """Add what another one of the same class saw."""


class TensorStatistics:
    """Running minimum, maximum and histogram of |x| of one tensor.

    Bin i counts the values with floor(|x| * 2^-exponent) = i; exact zeros are counted apart, because every
    symmetric scale represents them without error. The bin width is a power of two, so the index is exact, and
    when a value lies beyond the last bin, neighbours merge in pairs and the exponent grows by one:
    floor(floor(y) / 2) = floor(y / 2). `exponent` is the smallest that holds the largest value seen, hence
    everything here is a function of the multiset of values: batch size, order and sharding leave no trace.
    An object is for one thread at a time.

    Attributes:
        minimum, maximum: Of the values seen; +inf and -inf before the first.
        counts: [NUM_BINS] int64.
        num_zeros: Exact zeros; they are in no bin.
        exponent: log2 of the bin width; None while only zeros were seen.
    """

    def __init__(self) -> None:
        self.minimum, self.maximum = math.inf, -math.inf
        self.counts = np.zeros(NUM_BINS, dtype=np.int64)
        self.num_zeros = 0
        self.exponent: int | None = None

    @property
    def num_values(self) -> int:
        """How many values were seen, zeros included."""
        return self.num_zeros + int(self.counts.sum())

    @property
    def largest(self) -> float:
        """max|x|; 0 before the first value."""
        return max(abs(self.minimum), abs(self.maximum)) if math.isfinite(self.minimum) else 0.0

    @property
    def bin_width(self) -> float:
        """Width of one bin; 0 while only zeros were seen."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent)

    def update(self, values: np.ndarray, *, name: str = "tensor") -> None:
        """Add all values of a float32 array of any shape.

        Raises:
            CalibrationError: A value is NaN or infinite; names the tensor. Nothing was added.
        """
        if values.size == 0:
            return
        low, high = float(values.min()) + 0.0, float(values.max()) + 0.0  # -0.0 would tell which image came first
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise CalibrationError(
                f"tensor {name!r}: {bad} of {values.size} activations are NaN or infinite",
                remedy="check the network's weights and the preprocessing in its manifest",
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        largest = max(abs(low), abs(high))
        if largest > 0:
            self._widen(_exponent_for(largest))
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            self._count(flat[start : start + _CHUNK])

    def _count(self, values: np.ndarray) -> None:
        num_zeros = values.size - int(np.count_nonzero(values != 0))
        self.num_zeros += num_zeros
        if num_zeros == values.size:
            return
        # Scaling by a power of two is exact, and the cast truncates, which is floor for what is not negative.
        if -126 <= self.exponent <= 126:
            scaled = np.abs(values) * np.float32(math.ldexp(1.0, -self.exponent))
        else:  # the factor is beyond float32's range
            scaled = np.ldexp(np.abs(values).astype(np.float64), -self.exponent)
        self.counts += np.bincount(scaled.astype(np.int64), minlength=NUM_BINS)
        self.counts[0] -= num_zeros

    def merge(self, other: TensorStatistics) -> None:
        """Add what another shard saw."""
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.num_zeros += other.num_zeros
        if other.exponent is not None:
            self._widen(other.exponent)
            self.counts += _merged_pairwise(other.counts, self.exponent - other.exponent)

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = _merged_pairwise(self.counts, exponent - self.exponent)
            self.exponent = exponent


@dataclass(kw_only=True, slots=True)
class Collected:
    """Statistics of some images of a sample; those of two shards can be merged.

    Attributes:
        tensors: By tensor name.
        hashes: SHA-256 of every distinct image's pixels.
        positions: The images consumed, by their place in the sample.
        num_constant: Images of one colour among them.
    """

    tensors: dict[str, TensorStatistics]
    hashes: set[str] = field(default_factory=set)
    positions: set[int] = field(default_factory=set)
    num_constant: int = 0

    @classmethod
    def of(cls, tensors: Iterable[str], make: Callable[[], Statistics] = TensorStatistics) -> Collected:
        """Nothing seen yet of these tensors; `make` makes what counts the values of one."""
        return cls(tensors={name: make() for name in tensors})

    @property
    def num_images(self) -> int:
        """Images consumed, repeated ones included."""
        return len(self.positions)

    def count_image(self, position: int, pixels: np.ndarray) -> None:
        """Count an image [H, W, 3] uint8, whether it is new, and whether it is of one colour."""
        data = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
        self.hashes.add(sha256_of_bytes(data))
        self.positions.add(position)
        self.num_constant += bool((pixels == pixels[0, 0]).all())

    def merge(self, other: Collected) -> None:
        """Add what was collected of other images of the same sample."""
        for name, statistics in self.tensors.items():
            statistics.merge(other.tensors[name])
        self.hashes |= other.hashes
        self.positions |= other.positions
        self.num_constant += other.num_constant


def _exponent_for(largest: float) -> int:
    """Smallest e with floor(largest * 2^-e) < NUM_BINS: largest = m * 2^x, 0.5 <= m < 1, so e = x - log2(NUM_BINS)."""
    return math.frexp(largest)[1] - NUM_BINS.bit_length() + 1


def _merged_pairwise(counts: np.ndarray, times: int) -> np.ndarray:
    if times == 0:
        return counts
    result = np.zeros_like(counts)
    if times >= NUM_BINS.bit_length() - 1:
        result[0] = counts.sum()
    else:
        merged = counts.reshape(-1, 1 << times).sum(axis=1)
        result[: len(merged)] = merged
    return result
