"""When a candidate is good enough: limits that a user may set, and defaults that follow from its precision."""

from __future__ import annotations

__all__ = ["Limits", "Thresholds", "resolve_limits"]

import math
from dataclasses import dataclass, field

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

_MOST_LAYERS = 152
"""Supposed where nobody knows how many layers a network has."""

_DEFAULT_DROP = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits a verdict was taken with.

    Attributes:
        max_top1_drop: Points of top-1 that the candidate may lose against the reference.
        min_agreement: Share of images on which both must choose the same class.
        min_cosine, min_sqnr_db: Of the logits; see `verify.parity.Parity`.
        sources: Name of the field -> "given", or of which default it is and how that was derived.
    """

    max_top1_drop: float
    min_agreement: float
    min_cosine: float
    min_sqnr_db: float
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Limits as a user gives them; None takes the default, half a point or that of the candidate's precision."""

    max_top1_drop: float | None = None
    min_agreement: float | None = None
    min_cosine: float | None = None
    min_sqnr_db: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.max_top1_drop is not None and not 0 <= self.max_top1_drop <= 100:
            problems.append(f"max_top1_drop is {self.max_top1_drop} points, expected 0 to 100")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            problems.append(f"min_agreement is {self.min_agreement}, expected a share from 0 to 1")
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            problems.append(f"min_cosine is {self.min_cosine}, expected -1 to 1")
        if self.min_sqnr_db is not None and not math.isfinite(self.min_sqnr_db):
            problems.append(f"min_sqnr_db is {self.min_sqnr_db} dB, expected a finite number")
        if problems:
            raise ConfigError("; ".join(problems))


_ROUNDED_BITS = {Precision.FP16: 11, Precision.BF16: 8}
"""Bits of the significand: a value is rounded by up to 2^-bits of itself."""
_MARGIN = 5
"""What errors may exceed a random walk of such roundings by. A scale that is wrong by 5 % still fails at 30 dB."""

_FIXED_SQNR_DB = {
    Precision.FP32: (
        40.0,
        "kernels sum in another order (over 100 dB); a GPU may multiply in TF32, 2^-11 each, over 152 layers 44 dB",
    ),
    Precision.INT8: (10.0, "8-bit tensors leave sound networks 20 to 40 dB; at 10 dB errors are a third of the values"),
    Precision.FP8: (10.0, "E4M3 rounds 1.5 to 2 times as coarsely as calibrated INT8, which leaves 20 to 40 dB"),
}
_AGREEMENT = {
    Precision.FP32: 0.995,
    Precision.FP16: 0.995,
    Precision.BF16: 0.98,
    Precision.INT8: 0.97,
    Precision.FP8: 0.95,
}


def resolve_limits(thresholds: Thresholds, precision: Precision | None, num_layers: int | None = None) -> Limits:
    """The limits for a candidate, each with where it comes from.

    Errors of the default SQNR: FP16 and BF16 round after each of L layers by up to u = 2^-bits of the value; such errors
    add up like a random walk, u * sqrt(L), and the limit leaves a factor of five. The default cosine is what noise of
    that SQNR at right angles to the signal leaves: 1 / sqrt(1 + 10^(-SQNR / 10)). Agreement and drop have no such
    derivation; they are conventions, and say so.

    Args:
        precision: None, an unknown one, is held to FP32's.
        num_layers: Of the network, with weights; None supposes 152.
    """
    name = str(precision) if precision else "precision unknown, fp32"
    precision = precision or Precision.FP32
    sqnr_db, why = _default_sqnr_db(precision, num_layers)
    cosine = _rounded_down(1 / math.sqrt(1 + 10 ** (-sqnr_db / 10)))
    share = _AGREEMENT[precision]
    defaults = {
        "max_top1_drop": (_DEFAULT_DROP, "default: a convention, half a point"),
        "min_agreement": (share, f"{name} default: a convention, {1000 * (1 - share):.0f} of 1,000 images may flip"),
        "min_cosine": (cosine, f"{name} default: what noise of {sqnr_db:g} dB at right angles leaves"),
        "min_sqnr_db": (sqnr_db, f"{name} default: {why}"),
    }
    given = {key: value for key in defaults if (value := getattr(thresholds, key)) is not None}
    return Limits(
        **{key: given.get(key, value) for key, (value, _) in defaults.items()},
        sources={key: "given" if key in given else source for key, (_, source) in defaults.items()},
    )


def _default_sqnr_db(precision: Precision, num_layers: int | None) -> tuple[float, str]:
    if precision in _FIXED_SQNR_DB:
        return _FIXED_SQNR_DB[precision]
    layers, bits = num_layers or _MOST_LAYERS, _ROUNDED_BITS[precision]
    error = _MARGIN * 2.0**-bits * math.sqrt(layers)
    supposed = "" if num_layers else " (supposed)"
    why = (
        f"{layers} layers{supposed} round by 2^-{bits} each, a random walk, times {_MARGIN}: {100 * error:.2g} % error"
    )
    return math.floor(-200 * math.log10(error)) / 10, why


def _rounded_down(cosine: float) -> float:
    """To one digit of 1 - cosine."""
    rest = 1 - cosine
    unit = 10.0 ** math.floor(math.log10(rest))
    return round(1 - math.ceil(rest / unit - 1e-9) * unit, 12)
