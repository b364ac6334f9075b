"""The checks a verdict consists of: each a measured value held against a limit, and where the limit comes from."""

from __future__ import annotations

__all__ = ["Check", "check_above", "check_at_least", "check_at_most", "check_below", "verdict_checks"]

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_deploy.verify.accuracy import Accuracy
from resnet_deploy.verify.parity import Parity
from resnet_deploy.verify.statistics.result import DropDecision
from resnet_deploy.verify.thresholds import Limits

_ALWAYS = "always: a network that is sound gives finite values"
_GUESSING = "always: a reference that is no better than guessing proves nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One comparison of a measured value with its limit.

    Attributes:
        value: None where it could not be measured; the check has then failed.
        relation: How `value` must stand to `limit`: "<=", ">=", ">" or "<".
        source: Where the limit comes from.
    """

    name: str
    value: float | None
    relation: str
    limit: float
    passed: bool
    source: str = ""


def check_at_most(name: str, value: float | None, limit: float, source: str = "") -> Check:
    """value <= limit; a value that is missing or NaN fails."""
    passed = value is not None and value <= limit
    return Check(name=name, value=value, relation="<=", limit=limit, passed=passed, source=source)


def check_at_least(name: str, value: float | None, limit: float, source: str = "") -> Check:
    """value >= limit; a value that is missing or NaN fails."""
    passed = value is not None and value >= limit
    return Check(name=name, value=value, relation=">=", limit=limit, passed=passed, source=source)


def check_above(name: str, value: float | None, limit: float, source: str = "") -> Check:
    """value > limit; a value that is missing or NaN fails."""
    passed = value is not None and value > limit
    return Check(name=name, value=value, relation=">", limit=limit, passed=passed, source=source)


def check_below(name: str, value: float | None, limit: float, source: str = "") -> Check:
    """value < limit; a value that is missing or NaN fails."""
    passed = value is not None and value < limit
    return Check(name=name, value=value, relation="<", limit=limit, passed=passed, source=source)


def verdict_checks(
    parities: Mapping[str, Parity],
    limits: Limits,
    *,
    decides: bool,
    reference: Accuracy | None,
    drop: float | None,
    decision: DropDecision | None,
) -> tuple[Check, ...]:
    """All checks of a comparison.

    Args:
        parities: By the name of the output.
        decides: The outputs name classes.
        reference: What the reference scored; None where the images have no labels, which leaves its checks out.
        drop: Points of top-1 lost; None where nothing was counted.
        decision: What its bounds prove; None where nothing was counted.
    """
    found, source = parities.values(), limits.sources
    checks = [
        check_at_most("reference values not finite", sum(p.num_reference_nonfinite for p in found), 0, _ALWAYS),
        check_at_most("candidate values not finite", sum(p.num_candidate_nonfinite for p in found), 0, _ALWAYS),
    ]
    for name, parity in parities.items():
        if decides:
            agreement = parity.top1_agreement
            checks.append(check_at_least("top-1 agreement", agreement, limits.min_agreement, source["min_agreement"]))
        cosine, sqnr_db = parity.cosine, parity.sqnr_db
        checks.append(check_at_least(f"cosine of {name}", cosine, limits.min_cosine, source["min_cosine"]))
        checks.append(check_at_least(f"SQNR of {name} (dB)", sqnr_db, limits.min_sqnr_db, source["min_sqnr_db"]))
    if reference is not None:
        # A reference that does not know the classes proves nothing: wrong labels, class order or pixels show here.
        chance = 100 / len(reference.per_class)
        checks.append(check_above("reference top-1, lower bound (%)", reference.top1_low, chance, _GUESSING))
        checks.append(_check_drop(drop, decision, limits))
    return tuple(checks)


def _check_drop(drop: float | None, decision: DropDecision | None, limits: Limits) -> Check:
    """The point estimate; its upper bound where the drop must be proven to be within the limit."""
    source = limits.sources["max_top1_drop"]
    if decision is not None and decision.prove:
        return check_below("top-1 drop, upper bound (points)", decision.high, limits.max_top1_drop, source)
    return check_at_most("top-1 drop (points)", drop, limits.max_top1_drop, source)
