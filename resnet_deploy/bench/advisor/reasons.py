"""The answer in words: why this option, why not the others, and which need to relax where nothing can meet them."""

from __future__ import annotations

__all__ = ["explain"]

import math
from collections.abc import Sequence

from resnet_deploy.bench.advisor.advice import NeedCheck, Needs, Option, SpeedBasis, Standing
from resnet_deploy.bench.advisor.choice import EQUAL_POINTS, choose, has_room

_UNITS = {"latency": "ms", "throughput": "images/s", "top-1": "%", "power": "W"}
_OPTIONS = {
    "latency": "--max-latency-ms",
    "throughput": "--min-throughput",
    "top-1": "--min-top1",
    "power": "--max-watts",
}
_SMALLER_IS_BETTER = ("latency", "power")


def explain(options: Sequence[Option], needs: Needs, chosen: int | None) -> tuple[str, ...]:
    """Sentences that a person reads: the choice, then for every other network why it is not the choice.

    Args:
        options: Judged.
        chosen: Place of the recommended one; None where nothing can meet the needs.
    """
    if chosen is None:
        return (*_needs_failed(options), *_relaxations(options))
    choice = options[chosen]
    return (_why(choice, options, needs), *_single_needs(choice), *_other_networks(choice, options, needs))


def _why(choice: Option, options: Sequence[Option], needs: Needs) -> str:
    if not choice.checks:
        return (
            f"{choice.name}: nothing was asked for, so this is the fastest within {EQUAL_POINTS:g} points of the most "
            f"accurate of {len(options)} options"
        )
    alike = sum(option.standing is choice.standing for option in options)
    known = "" if choice.accuracy.top1_percent is None else f" within {EQUAL_POINTS:g} points of the most accurate"
    text = f"{choice.name} {_ALL_NEEDS[choice.standing]}; of the {alike} options of which that can be said"
    if choice.speed.basis is not SpeedBasis.BOUND or not (needs.max_latency_ms or needs.min_throughput):
        return f"{text}, it is the fastest{known}, the surer ones first"
    speed = f"{choice.speed.likely_ms:.3g} ms, {choice.speed.likely_images_per_second:,.0f} images/s"
    if has_room(choice, needs):
        return f"{text}, it is the fastest{known} whose likely speed ({speed}, by published runs) meets them too"
    return f"{text}, it is the fastest{known}, but no likely speed meets them (its own is {speed}): expect it to fail"


_ALL_NEEDS = {
    Standing.MEETS: "meets all needs",
    Standing.EXPECTED: "is expected to meet all needs",
    Standing.MEASURE: "may meet all needs, which only a measurement can tell",
}


def _single_needs(choice: Option) -> list[str]:
    return [f"{check.need} ({check.standing}): {check.reason}" for check in choice.checks]


def _other_networks(choice: Option, options: Sequence[Option], needs: Needs) -> list[str]:
    """One sentence for each network that was not chosen: about the one of its options that would be, or comes nearest."""
    sentences = []
    for net in dict.fromkeys(option.net for option in options):
        if net == choice.net:
            continue
        own = [option for option in options if option.net == net]
        best = choose(own, needs)
        sentences.append(f"{net}: " + (_ruled_out(own) if best is None else _passed_over(choice, own[best])))
    return sentences


def _passed_over(choice: Option, best: Option) -> str:
    if best.standing is not choice.standing:
        return f"{best.standing} only: {_weakest(best).reason} ({best.name})"
    if best.accuracy.top1_percent is None and choice.accuracy.top1_percent is not None:
        return f"top-1 is not known of any option that may do: {best.accuracy.source} ({best.name})"
    if _top1(best) < _top1(choice) - EQUAL_POINTS:
        return f"less accurate, {_percent(best)} against {_percent(choice)} ({best.name})"
    less_sure = [c for c, own in zip(best.checks, choice.checks, strict=True) if c.standing.rank < own.standing.rank]
    if less_sure:
        return f"less sure: {less_sure[0].reason} ({best.name})"
    if _top1(best) > _top1(choice) + EQUAL_POINTS:
        likely = best.speed.likely_ms or best.speed.latency_ms
        rate = best.speed.likely_images_per_second or best.speed.images_per_second
        return (
            f"more accurate, {_percent(best)}, but with less room: likely {likely:.3g} ms, {rate:,.0f} images/s "
            f"({best.name}); measure it if that matters"
        )
    return f"slower at the same accuracy, {best.speed.latency_ms:.3g} ms ({best.name})"


def _ruled_out(own: Sequence[Option]) -> str:
    """Why no option of a network can do: by its option that fails fewest needs, then comes nearest."""
    nearest = min(own, key=lambda o: (sum(c.standing is Standing.FAILS for c in o.checks), _worst_miss(o)))
    failed = [check.reason for check in nearest.checks if check.standing is Standing.FAILS]
    return f"none of its {len(own)} options; the nearest, {nearest.name}: {'; and '.join(failed)}"


def _needs_failed(options: Sequence[Option]) -> list[str]:
    """For every need how many options fail it, and the one that comes nearest."""
    sentences = []
    for place, asked in enumerate(options[0].checks):
        failed = [option for option in options if option.checks[place].standing is Standing.FAILS]
        if not failed:
            continue
        text = f"{_need(asked)}: {len(failed)} of {len(options)} options can not meet it"
        if len(failed) == len(options):
            nearest = min(options, key=lambda option: _miss(option.checks[place]))
            text = f"no option meets {_need(asked)}: the nearest is {nearest.name}, {nearest.checks[place].reason}"
            text += f" ({nearest.speed.source})" if asked.need in ("latency", "throughput") else ""
        sentences.append(text)
    return sentences


def _relaxations(options: Sequence[Option]) -> list[str]:
    """For every need: the best that is left of it where all the others stay as they are."""
    sentences = []
    for place, asked in enumerate(options[0].checks):
        others_hold = [
            option
            for option in options
            if all(c.standing is not Standing.FAILS for n, c in enumerate(option.checks) if n != place)
            and option.checks[place].value is not None
        ]
        if not others_hold:
            continue
        known = [option for option in others_hold if all(check.value is not None for check in option.checks)]
        others_hold = known or others_hold
        best = min(others_hold, key=lambda option: _miss(option.checks[place]))
        value = best.checks[place].value
        smaller = asked.need in _SMALLER_IS_BETTER
        edge, how = _rounded(value, up=smaller), "at least" if smaller else "at most"
        label = best.accuracy.label if asked.need == "top-1" else best.speed.label
        likely = f"; likely {best.speed.likely_ms:.3g} ms" if best.speed.likely_ms and asked.need != "top-1" else ""
        sentences.append(
            f"relax {_OPTIONS[asked.need]} to {how} {edge}, the best that the other needs leave "
            f"({best.name}, {label}: {value:.4g} {_UNITS[asked.need]}{likely})"
        )
    if not sentences:
        sentences.append("no single need can be relaxed: at least two have to give way")
    return sentences


def _rounded(value: float, *, up: bool) -> str:
    """Three significant digits or more, rounded so that a need of that size is met by `value`."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    steps = math.ceil(value / step) if up else math.floor(value / step)
    return f"{steps * step:.6g}"


def _need(check: NeedCheck) -> str:
    words = {
        "latency": "at most {} ms",
        "throughput": "at least {} images/s",
        "top-1": "top-1 of at least {} %",
        "power": "at most {} W",
    }
    return words[check.need].format(f"{check.limit:g}")


def _miss(check: NeedCheck) -> float:
    """By which factor a need is missed; below 1 where it is met."""
    if check.value is None or check.value <= 0:
        return float("inf")
    return check.value / check.limit if check.need in _SMALLER_IS_BETTER else check.limit / check.value


def _worst_miss(option: Option) -> float:
    return max(_miss(check) for check in option.checks if check.standing is Standing.FAILS)


def _weakest(option: Option) -> NeedCheck:
    return min(option.checks, key=lambda check: check.standing.rank)


def _top1(option: Option) -> float:
    return option.accuracy.top1_percent if option.accuracy.top1_percent is not None else float("-inf")


def _percent(option: Option) -> str:
    top1 = option.accuracy.top1_percent
    return "top-1 not known" if top1 is None else f"{top1:.2f} % ({option.accuracy.label})"
