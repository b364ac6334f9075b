"""Which tensors a precision has no numbers for, found before anything is converted: overflow and underflow."""

from __future__ import annotations

__all__ = ["Forecast", "Range", "RangeFinding", "RangesOptions", "RangesResult", "find_ranges", "forecast"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from resnet_deploy.core.errors import CalibrationError, ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.graph.types import element_types
from resnet_deploy.quant.collect import collect_statistics
from resnet_deploy.quant.fp8 import FP8_RULES
from resnet_deploy.quant.magnitudes import MagnitudeHistogram
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.placement import RULES, find_placement
from resnet_deploy.quant.sample import SampleOptions, open_sample

_HEADROOM = 4.0
"""A tensor that comes within this factor of the largest number is named: other images may go beyond it."""

_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, slots=True)
class _Numbers:
    """What a type can hold.

    Attributes:
        largest: Largest number; infinite where the scale follows the tensor.
        overflows_at: Smallest magnitude that rounds to infinity.
        normal: Below it numbers have fewer bits; relative to the tensor's largest for a type with a scale.
        zero: Below it values become 0; relative likewise.
        noise: Energy of its ordinary rounding relative to the tensor's; small values that add less do not matter.
    """

    largest: float
    overflows_at: float
    normal: float
    zero: float
    noise: float


# The noise of FP16, BF16 and FP8 is the square of their relative rounding: 2^-11, 2^-8 and 2^-4. That of int8 depends
# on the tensor; where values that become 0 hold 1 % of the energy, they alone cost 20 dB.
_NUMBERS = {
    Precision.FP16: _Numbers(largest=65504.0, overflows_at=65520.0, normal=2.0**-14, zero=2.0**-25, noise=2.0**-22),
    Precision.BF16: _Numbers(
        largest=math.ldexp(255, 120),
        overflows_at=math.ldexp(511, 119),
        normal=2.0**-126,
        zero=2.0**-134,
        noise=2.0**-16,
    ),
    Precision.FP8: _Numbers(
        largest=math.inf, overflows_at=math.inf, normal=2.0**-6 / 448, zero=2.0**-10 / 448, noise=2.0**-8
    ),
    Precision.INT8: _Numbers(largest=math.inf, overflows_at=math.inf, normal=0.5 / 127, zero=0.5 / 127, noise=1e-2),
}
_RULES = {Precision.INT8: RULES, Precision.FP8: FP8_RULES}


@dataclass(frozen=True, kw_only=True, slots=True)
class RangesOptions:
    """Which network, which images, which precisions.

    Attributes:
        precisions: Any of FP16, BF16, INT8 and FP8; with the last two, what is not quantised is taken to be FP16.
        max_lost: Share of a tensor's values (zeros not counted) that may fall below the normal numbers.
    """

    sample: SampleOptions
    precisions: tuple[Precision, ...] = (Precision.FP16, Precision.BF16, Precision.FP8, Precision.INT8)
    max_lost: float = 0.01

    def __post_init__(self) -> None:
        unknown = [str(precision) for precision in self.precisions if precision not in _NUMBERS]
        if unknown or not self.precisions:
            got = ", ".join(unknown) or "none"
            raise ConfigError(f"ranges: precision {got}, expected {', '.join(map(str, _NUMBERS))}")
        if not 0 <= self.max_lost <= 1:
            raise ConfigError(f"ranges: max_lost is {self.max_lost}, expected a share from 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A tensor in one precision.

    Attributes:
        stored_as: What it is in: the precision, or FP16 where that leaves it in floating point.
        headroom: Largest number / largest value; below 1 it overflows. Infinite with a scale and for zeros.
        share_coarse: Of its values other than 0, those below the normal numbers: they lose bits, or become 0.
        share_zero: Those that become 0.
        error_energy: Energy of the error that these two make, relative to the tensor's.
    """

    tensor: str
    is_weight: bool
    stored_as: Precision
    largest: float
    headroom: float
    share_coarse: float
    share_zero: float
    error_energy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeFinding:
    """One tensor that a precision does not fit.

    Attributes:
        kind: "overflow", "near overflow" or "underflow"; only the first fails the forecast.
    """

    tensor: str
    kind: str
    figures: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a conversion to `precision` would do; true where nothing overflows.

    Attributes:
        ranges: Activations in the graph's order, then constants.
        findings: Overflows first; in the graph's order within a kind.
    """

    precision: Precision
    passed: bool
    ranges: tuple[Range, ...]
    findings: tuple[RangeFinding, ...]

    def __bool__(self) -> bool:
        return self.passed

    @property
    def largest(self) -> Range:
        """The tensor with the least headroom; of those with a scale, the one with the largest values."""
        return min(self.ranges, key=lambda r: (r.headroom, -r.largest))

    @property
    def most_lost(self) -> Range:
        """The tensor in which values that are too small make the largest error."""
        return max(self.ranges, key=lambda r: r.error_energy)


@dataclass(frozen=True, kw_only=True, slots=True)
class RangesResult:
    """All forecasts; true where no precision overflows.

    Attributes:
        bad_images: Those that could not be used, path and reason.
    """

    file: Path
    images: str
    num_images: int
    num_tensors: int
    forecasts: tuple[Forecast, ...]
    bad_images: tuple[str, ...]

    def __bool__(self) -> bool:
        return all(self.forecasts)


def find_ranges(options: RangesOptions, progress: Progress = NO_PROGRESS) -> RangesResult:
    """Run images through the FP32 network and say, for each precision, what would not fit.

    Raises:
        ArtifactError: The ONNX file is missing, changed, or not FP32 of ours.
        DataError: The images can not be used.
        CalibrationError: A weight or an activation is NaN or infinite in FP32; names the tensor.
    """
    sample = open_sample(options.sample)
    model = read_network(options.sample.onnx, sample.manifest).model
    bad = BadImages(options.sample.skip_bad)
    weights = _weights(model)
    seen = collect_statistics(
        model,
        _activations(model),
        sample.images,
        sample.manifest.preprocess,
        make=MagnitudeHistogram,
        num_threads=options.sample.num_threads,
        batch=options.sample.batch,
        bad=bad,
        progress=progress,
    )
    if not seen.num_images:
        raise CalibrationError(f"{sample.images.description}: no image could be used")
    return RangesResult(
        file=Path(options.sample.onnx),
        images=sample.images.description,
        num_images=seen.num_images,
        num_tensors=len(seen.tensors) + len(weights),
        forecasts=tuple(
            forecast(model, seen.tensors, weights, precision, max_lost=options.max_lost)
            for precision in options.precisions
        ),
        bad_images=tuple(map(str, bad)),
    )


def forecast(
    model: onnx.ModelProto,
    activations: Mapping[str, MagnitudeHistogram],
    weights: Mapping[str, np.ndarray],
    precision: Precision,
    *,
    max_lost: float,
) -> Forecast:
    """What a conversion of the FP32 `model` to `precision` would do to its tensors.

    Args:
        activations: What was seen of each float tensor.
        weights: The float constants.
        max_lost: See `RangesOptions`.
    """
    placement = find_placement(model, rules=_RULES[precision]) if precision in _RULES else None
    scaled = set() if placement is None else set(placement.tensors)
    ranges = []
    for name, seen in activations.items():
        stored_as = precision if placement is None or name in scaled else Precision.FP16
        ranges.append(_range(name, seen, stored_as, is_weight=False, unit=seen.largest))
    axes = {} if placement is None else {use.weight: use.axis for use in placement.weights}
    for name, values in weights.items():
        stored_as = precision if placement is None or name in axes else Precision.FP16
        ranges.append(_weight_range(name, values, stored_as, axes.get(name)))
    findings = [finding for r in ranges if (finding := _finding(r, precision, max_lost)) is not None]
    order = ("overflow", "near overflow", "underflow")
    findings.sort(key=lambda finding: order.index(finding.kind))  # stable: the graph's order within a kind
    return Forecast(
        precision=precision,
        passed=not any(finding.kind == "overflow" for finding in findings),
        ranges=tuple(ranges),
        findings=tuple(findings),
    )


def _activations(model: onnx.ModelProto) -> list[str]:
    """All float tensors that are computed or fed, in the graph's order."""
    types = element_types(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [tensor.name for tensor in model.graph.input if tensor.name not in constants]
    names += [name for node in model.graph.node for name in node.output]
    return [name for name in names if types.get(name) == TensorProto.FLOAT]


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise CalibrationError(f"initializer {name!r} holds NaN or infinity", remedy="take another checkpoint")
    return found


def _weight_range(name: str, values: np.ndarray, stored_as: Precision, axis: int | None) -> Range:
    """A weight; with one scale per slice along `axis`, each slice is measured by its own largest value."""
    seen = MagnitudeHistogram()
    if axis is None:
        seen.update(values, name=name)
        return _range(name, seen, stored_as, is_weight=True, unit=seen.largest)
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    amax = np.abs(rows).max(axis=1, keepdims=True)
    seen.update((rows / np.where(amax > 0, amax, 1)).astype(np.float32), name=name)
    seen.largest = float(amax.max())
    return _range(name, seen, stored_as, is_weight=True, unit=1.0)


def _range(name: str, seen: MagnitudeHistogram, stored_as: Precision, *, is_weight: bool, unit: float) -> Range:
    numbers = _NUMBERS[stored_as]
    factor = unit if math.isinf(numbers.largest) else 1.0
    headroom = numbers.largest / seen.largest if seen.largest > 0 else math.inf
    zero, normal = numbers.zero * factor, numbers.normal * factor
    share_coarse, share_zero = seen.share_below(normal), seen.share_below(zero)
    return Range(
        tensor=name,
        is_weight=is_weight,
        stored_as=stored_as,
        largest=seen.largest,
        headroom=headroom if seen.largest < numbers.overflows_at else min(headroom, np.nextafter(1.0, 0.0)),
        share_coarse=share_coarse,
        share_zero=share_zero,
        # What becomes 0 is lost whole; the others lie between steps of 2 * zero: the mean square error is step^2 / 12.
        error_energy=seen.energy_below(zero) + (share_coarse - share_zero) * zero**2 / 3 / max(seen.mean_square, _TINY),
    )


def _finding(found: Range, precision: Precision, max_lost: float) -> RangeFinding | None:
    kind, numbers = str(found.stored_as).upper(), _NUMBERS[found.stored_as]
    if found.largest >= numbers.overflows_at:
        figures = f"reaches {found.largest:.6g}, {kind} ends at {numbers.largest:.6g}"
        return RangeFinding(tensor=found.tensor, kind="overflow", figures=figures, remedy=_against_overflow(precision))
    if found.headroom < _HEADROOM:
        figures = f"reaches {found.largest:.6g}, {kind} ends at {numbers.largest:.6g}: {found.headroom:.2g} times that"
        return RangeFinding(
            tensor=found.tensor, kind="near overflow", figures=figures, remedy=_against_overflow(precision)
        )
    if found.share_coarse > max_lost and found.error_energy > numbers.noise:
        figures = (
            f"{100 * found.share_coarse:.3g} % of its values are too small for {kind} ({100 * found.share_zero:.3g} % "
            f"become 0), an error of {-10 * math.log10(found.error_energy):.0f} dB below the tensor"
        )
        return RangeFinding(tensor=found.tensor, kind="underflow", figures=figures, remedy=_against_underflow(found))
    return None


def _against_overflow(precision: Precision) -> str:
    if precision is Precision.BF16:
        return "keep the network in fp32"
    if precision is Precision.FP16:
        return "export --precision bf16, which has fp32's range"
    return "quantize --float bf16, or fp32"


def _against_underflow(found: Range) -> str:
    if found.stored_as is Precision.FP16:
        return "take bf16, which has fp32's range"
    if found.stored_as is Precision.INT8:
        what = "equalise, or take fp8" if found.is_weight else "calibrate --method percentile:99.99 or entropy"
        return f"{what}, or keep its layer in floating point (quantize --exclude)"
    return "keep its layer in floating point (quantize --exclude)"
