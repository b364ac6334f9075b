"""When a candidate is good enough: limits that a user may set, and defaults that follow from its precision."""

from __future__ import annotations

__all__ = ["Check", "Limits", "Thresholds", "check_above", "check_at_least", "check_at_most", "resolve_limits"]

from dataclasses import dataclass

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits a verdict was taken with.

    Attributes:
        max_top1_drop: Points of top-1 that the candidate may lose against the reference.
        min_agreement: Share of images on which both must choose the same class.
        min_cosine, min_sqnr_db: Of the logits; see `verify.parity.Parity`.
    """

    max_top1_drop: float
    min_agreement: float
    min_cosine: float
    min_sqnr_db: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Limits as a user gives them; None takes the default of the candidate's precision."""

    max_top1_drop: float = 0.5
    min_agreement: float | None = None
    min_cosine: float | None = None
    min_sqnr_db: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.max_top1_drop <= 100:
            problems.append(f"max_top1_drop is {self.max_top1_drop} points, expected 0 to 100")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            problems.append(f"min_agreement is {self.min_agreement}, expected a share from 0 to 1")
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            problems.append(f"min_cosine is {self.min_cosine}, expected -1 to 1")
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One comparison of a measured value with its limit.

    Attributes:
        value: None where it could not be measured; the check has then failed.
        relation: How `value` must stand to `limit`: "<=", ">=" or ">".
    """

    name: str
    value: float | None
    relation: str
    limit: float
    passed: bool


# FP32: kernels differ in the order of their sums only, a relative error near 2^-24 * sqrt(terms) (over 100 dB), but a
#   GPU may multiply in TF32 (10 bits of mantissa), so the limit is FP16's less the weights' own rounding: 40 dB.
# FP16: each of ~50 to 150 layers rounds to 2^-11 relative; errors add like a random walk: 2^-11 * sqrt(150) =
#   0.6 % (44 dB). 30 dB leaves a factor of five and still catches a scale that is wrong by 3 %.
# BF16: FP16's rule with 2^-8: 2^-8 * sqrt(150) = 5 % (26 dB), less FP16's factor of five: 12 dB.
# INT8: per-tensor activations in 8 bits cost 1 to 10 % of the logits' energy on sound nets (20 to 40 dB); 10 dB is
#   the point at which errors are a third of the logits. A factor of two gives 0 dB.
# FP8: E4M3 rounds by 2.6 % rms (2^-4 at most), 1.5 to 2 times what calibrated INT8 does: that much more disagreement.
# Cosine: 1 / sqrt(1 + 10^(-SQNR / 10)) at these limits, rounded down (noise at right angles to the signal).
_DEFAULTS = {
    Precision.FP32: (0.995, 0.9999, 40.0),
    Precision.FP16: (0.995, 0.9995, 30.0),
    Precision.BF16: (0.98, 0.96, 12.0),
    Precision.INT8: (0.97, 0.95, 10.0),
    Precision.FP8: (0.95, 0.95, 10.0),
}


def resolve_limits(thresholds: Thresholds, precision: Precision | None) -> Limits:
    """The limits for a candidate of that precision; one of unknown precision is held to FP32's."""
    agreement, cosine, sqnr_db = _DEFAULTS[precision or Precision.FP32]
    return Limits(
        max_top1_drop=thresholds.max_top1_drop,
        min_agreement=agreement if thresholds.min_agreement is None else thresholds.min_agreement,
        min_cosine=cosine if thresholds.min_cosine is None else thresholds.min_cosine,
        min_sqnr_db=sqnr_db if thresholds.min_sqnr_db is None else thresholds.min_sqnr_db,
    )


def check_at_most(name: str, value: float | None, limit: float) -> Check:
    """value <= limit; a value that is missing or NaN fails."""
    return Check(name=name, value=value, relation="<=", limit=limit, passed=value is not None and value <= limit)


def check_at_least(name: str, value: float | None, limit: float) -> Check:
    """value >= limit; a value that is missing or NaN fails."""
    return Check(name=name, value=value, relation=">=", limit=limit, passed=value is not None and value >= limit)


def check_above(name: str, value: float | None, limit: float) -> Check:
    """value > limit; a value that is missing or NaN fails."""
    return Check(name=name, value=value, relation=">", limit=limit, passed=value is not None and value > limit)
