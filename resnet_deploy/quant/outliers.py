"""What makes a weight or an activation hard to round: outliers, spread between channels, values that become zero."""

from __future__ import annotations

__all__ = ["ActivationProfile", "ChannelStatistics", "WeightProfile", "activation_profile", "weight_profile"]

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from resnet_deploy.core.specs import Precision
from resnet_deploy.quant.insertion import quantize_weight
from resnet_deploy.quant.scales import amax_of, percentile_amax
from resnet_deploy.quant.statistics import TensorStatistics

_QMAX = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightProfile:
    """One weight, rounded to int8 with a scale per output channel.

    Attributes:
        worst_peak: Largest max|w| / rms(w) of a channel; of equal magnitudes 1, of a normal distribution about 3 to 4.
        channel_spread: Largest channel maximum over the median of those that are not zero; scales per channel
            absorb it, a scale per tensor would not.
        num_zero_channels: Output channels without any weight but 0.
        share_to_zero: Of the weights other than 0, those that become 0.
        sqnr_db: Energy of the weight over that of its rounding error; None where there is no error.
    """

    node: str
    weight: str
    num_channels: int
    worst_peak: float
    channel_spread: float
    num_zero_channels: int
    share_to_zero: float
    sqnr_db: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationProfile:
    """One activation, rounded to int8 with one scale.

    Attributes:
        largest: max|x|.
        outlier_ratio: Largest over the 99.99 percentile of |x|.
        sqnr_max_db, sqnr_percentile_db, sqnr_entropy_db, sqnr_mse_db: Energy of the tensor over that of its error,
            rounding and clipping, with the scale of each method, from the histogram; None where it is always 0.
        channel_spread: Largest channel maximum over the median of those that are not zero.
        num_dead_channels: Channels that were 0 on every image.
    """

    tensor: str
    largest: float
    outlier_ratio: float
    sqnr_max_db: float | None
    sqnr_percentile_db: float | None
    sqnr_entropy_db: float | None
    sqnr_mse_db: float | None
    channel_spread: float
    num_channels: int
    num_dead_channels: int


class ChannelStatistics:
    """A tensor's histogram, and the largest magnitude of each of its channels.

    Attributes:
        histogram: Of all values together.
        channel_amax: [C] over axis 1; None before the first value.
    """

    def __init__(self) -> None:
        self.histogram = TensorStatistics()
        self.channel_amax: np.ndarray | None = None

    def update(self, values: np.ndarray, *, name: str = "tensor") -> None:
        """Add [N, C, ...] float32.

        Raises:
            CalibrationError: A value is NaN or infinite; names the tensor.
        """
        self.histogram.update(values, name=name)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        self._take(np.maximum(values.max(axis=axes), -values.min(axis=axes)))

    def merge(self, other: ChannelStatistics) -> None:
        """Add what another shard saw."""
        self.histogram.merge(other.histogram)
        if other.channel_amax is not None:
            self._take(other.channel_amax)

    def _take(self, amax: np.ndarray) -> None:
        self.channel_amax = amax if self.channel_amax is None else np.maximum(self.channel_amax, amax)


def weight_profile(weight: np.ndarray, *, axis: int, node: str, name: str) -> WeightProfile:
    """Profile a float32 weight.

    Raises:
        CalibrationError: It holds NaN or infinity; names the first bad channel.
    """
    rounded = quantize_weight(weight, axis=axis, float_precision=Precision.FP32, name=name)
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    values = np.moveaxis(rounded.values, axis, 0).reshape(rows.shape)
    errors = values * rounded.scales[:, None].astype(np.float64) - rows
    amax, rms = np.abs(rows).max(axis=1), np.sqrt(np.square(rows).mean(axis=1))
    alive = amax > 0
    nonzero = rows != 0
    return WeightProfile(
        node=node,
        weight=name,
        num_channels=len(rows),
        worst_peak=float((amax[alive] / rms[alive]).max()) if alive.any() else 0.0,
        channel_spread=_spread(amax),
        num_zero_channels=int((~alive).sum()),
        share_to_zero=float(((values == 0) & nonzero).sum() / nonzero.sum()) if nonzero.any() else 0.0,
        sqnr_db=_decibels(float(np.square(rows).sum()), float(np.square(errors).sum())),
    )


def activation_profile(tensor: str, seen: ChannelStatistics) -> ActivationProfile:
    """Profile what was seen of an activation."""
    histogram, amax = seen.histogram, seen.channel_amax
    percentile = percentile_amax(histogram, Fraction(9999, 100))
    return ActivationProfile(
        tensor=tensor,
        largest=histogram.largest,
        outlier_ratio=histogram.largest / percentile if percentile > 0 else 1.0,
        sqnr_max_db=_sqnr_at(histogram, histogram.largest),
        sqnr_percentile_db=_sqnr_at(histogram, percentile),
        sqnr_entropy_db=_sqnr_at(histogram, amax_of(histogram, "entropy")),
        sqnr_mse_db=_sqnr_at(histogram, amax_of(histogram, "mse")),
        channel_spread=_spread(amax),
        num_channels=len(amax),
        num_dead_channels=int((amax == 0).sum()),
    )


def _sqnr_at(histogram: TensorStatistics, amax: float) -> float | None:
    """With the values of a bin taken to be spread evenly over it: its middle, and the width's variance, squared / 12."""
    used = np.flatnonzero(histogram.counts)
    if not used.size or not amax > 0:
        return None
    counts = histogram.counts[used].astype(np.float64)
    middles = (used + 0.5) * histogram.bin_width
    scale = amax / _QMAX
    errors = np.minimum(np.rint(middles / scale), _QMAX) * scale - middles
    within = histogram.bin_width**2 / 12
    return _decibels(float(counts @ (middles**2 + within)), float(counts @ (errors**2 + within)))


def _decibels(signal: float, noise: float) -> float | None:
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def _spread(amax: np.ndarray) -> float:
    alive = amax[amax > 0]
    return float(alive.max() / np.median(alive)) if alive.size else 1.0
