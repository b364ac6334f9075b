"""How an option stands to what is needed: certain, expected, possible, or out of the question."""

from __future__ import annotations

__all__ = ["judge"]

from dataclasses import replace

from resnet_deploy.bench.advisor.advice import (
    AccuracyBasis,
    KnownAccuracy,
    KnownSpeed,
    NeedCheck,
    Needs,
    Option,
    SpeedBasis,
    Standing,
)


def judge(option: Option, needs: Needs, *, target_watts: float | None) -> Option:
    """`option` with a check for every need, and with its standing, the worst of them.

    Args:
        target_watts: Power limit of the target, what it draws at most; None where it is not known.
    """
    checks = []
    if needs.max_latency_ms is not None:
        checks.append(_latency(option.speed, needs.max_latency_ms))
    if needs.min_throughput is not None:
        checks.append(_throughput(option.speed, needs.min_throughput))
    if needs.min_top1 is not None:
        checks.append(_top1(option.accuracy, needs.min_top1))
    if needs.max_watts is not None:
        checks.append(_power(option.speed, needs.max_watts, target_watts))
    standing = min((check.standing for check in checks), key=lambda s: s.rank, default=Standing.MEETS)
    return replace(option, checks=tuple(checks), standing=standing)


DOUBT = 2.0
"""Factor by which a run that is not valid is taken to be wrong at most; other work on a processor doubles its times."""


def _latency(speed: KnownSpeed, limit: float) -> NeedCheck:
    holds = speed.latency_ms <= limit
    bound_holds = speed.bound_ms is None or speed.bound_ms <= limit
    bound_holds &= speed.basis is not SpeedBasis.NOT_VALID or speed.latency_ms / DOUBT <= limit
    value = f"{speed.latency_ms:.3g} ms ({speed.label})"
    if not holds and not bound_holds and speed.basis in (SpeedBasis.BOUND, SpeedBasis.SCALED):
        value = f"at least {speed.bound_ms:.3g} ms (roofline bound)"
    reason = f"a pass takes {value}, {'at most' if holds else 'not'} {limit:g} ms"
    standing = _speed_standing(speed, holds, bound_holds)
    return NeedCheck(need="latency", limit=limit, value=speed.latency_ms, standing=standing, reason=reason)


def _throughput(speed: KnownSpeed, limit: float) -> NeedCheck:
    holds = speed.images_per_second >= limit
    bound_holds = speed.bound_images_per_second is None or speed.bound_images_per_second >= limit
    bound_holds &= speed.basis is not SpeedBasis.NOT_VALID or speed.images_per_second * DOUBT >= limit
    value = f"{speed.images_per_second:,.0f} images/s ({speed.label})"
    if not holds and not bound_holds and speed.basis in (SpeedBasis.BOUND, SpeedBasis.SCALED):
        value = f"at most {speed.bound_images_per_second:,.0f} images/s (roofline bound)"
    reason = f"it gives {value}, {'at least' if holds else 'not'} {limit:,g}"
    standing = _speed_standing(speed, holds, bound_holds)
    return NeedCheck(need="throughput", limit=limit, value=speed.images_per_second, standing=standing, reason=reason)


def _speed_standing(speed: KnownSpeed, holds: bool, bound_holds: bool) -> Standing:
    """A bound that fails is final, one that holds proves nothing; a run that is not valid may be wrong by `DOUBT`."""
    if speed.basis is SpeedBasis.MEASURED:
        return Standing.MEETS if holds else Standing.FAILS
    if speed.basis is SpeedBasis.BOUND:
        return Standing.MEASURE if holds else Standing.FAILS
    if holds:
        return Standing.EXPECTED
    return Standing.MEASURE if bound_holds else Standing.FAILS


def _top1(accuracy: KnownAccuracy, limit: float) -> NeedCheck:
    standing, reason = _top1_standing(accuracy, limit)
    return NeedCheck(need="top-1", limit=limit, value=accuracy.top1_percent, standing=standing, reason=reason)


def _top1_standing(accuracy: KnownAccuracy, limit: float) -> tuple[Standing, str]:
    top1, low, high = accuracy.top1_percent, accuracy.low, accuracy.high
    if accuracy.basis is AccuracyBasis.UNKNOWN:
        if high is not None and high < limit:
            return Standing.FAILS, f"top-1 is not known, but not above {high:.2f} % ({accuracy.source})"
        return Standing.MEASURE, f"top-1 is not known ({accuracy.source})"
    said = f"top-1 is {top1:.2f} % ({accuracy.label}: {accuracy.source})"
    if high is not None and high < limit:
        return Standing.FAILS, f"{said}, not {limit:g} %"
    if accuracy.basis is AccuracyBasis.MEASURED:
        interval = f"95 % interval {low:.2f} to {high:.2f}"
        if low >= limit:
            return Standing.MEETS, f"{said}, {interval}"
        standing = Standing.EXPECTED if top1 >= limit else Standing.MEASURE
        return standing, f"{said}, {interval} holds {limit:g} %: more images would tell"
    if low is not None and low >= limit:
        return Standing.EXPECTED, said
    if low is None:
        return Standing.MEASURE, f"{said}: nobody published what it really is"
    return Standing.MEASURE, f"{said}; {limit:g} % needs a smaller drop than that"


def _power(speed: KnownSpeed, limit: float, target_watts: float | None) -> NeedCheck:
    if speed.watts is not None:
        holds = speed.watts <= limit
        sure = speed.basis is SpeedBasis.MEASURED
        good, bad = (Standing.MEETS, Standing.FAILS) if sure else (Standing.EXPECTED, Standing.MEASURE)
        reason = f"it draws {speed.watts:.0f} W ({speed.label}), {'at most' if holds else 'not'} {limit:g} W"
        return NeedCheck(need="power", limit=limit, value=speed.watts, standing=good if holds else bad, reason=reason)
    if target_watts is None:
        standing, reason = Standing.MEASURE, "its power was not measured, and the target's limit is not known"
    elif target_watts <= limit:
        standing, reason = Standing.MEETS, f"the target draws at most {target_watts:g} W"
    else:
        standing = Standing.MEASURE
        reason = (
            f"the target may draw up to {target_watts:g} W; under a power limit of {limit:g} W its clocks are lower, "
            "and all times longer"
        )
    return NeedCheck(need="power", limit=limit, value=target_watts, standing=standing, reason=reason)
