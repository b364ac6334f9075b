"""The rule by which one option is recommended."""

from __future__ import annotations

__all__ = ["EQUAL_POINTS", "choose", "has_room"]

from collections.abc import Sequence

from resnet_deploy.bench.advisor.advice import Needs, Option, Standing

EQUAL_POINTS = 0.1
"""Points of top-1 that are not worth a slower network: the same weights differ by as much between image decoders."""


def choose(options: Sequence[Option], needs: Needs) -> int | None:
    """Place of the option that is recommended; None where every one fails a need.

    First the standing: what is measured to meet all needs, before what is expected to, before what may; of equal
    standing what is surer of its single needs. Of what rests on a bare bound, an option whose likely speed meets the needs
    goes before one whose likely speed does not. Of those left, within `EQUAL_POINTS` of the most accurate, the
    one with the lowest latency.
    """
    possible = [place for place, option in enumerate(options) if option.standing is not Standing.FAILS]
    if not possible:
        return None
    surest = max(_sureness(options[place]) for place in possible)
    left = [place for place in possible if _sureness(options[place]) == surest]
    left = [place for place in left if has_room(options[place], needs)] or left
    best = max(_top1(options[place]) for place in left)
    left = [place for place in left if _top1(options[place]) >= best - EQUAL_POINTS]
    return min(left, key=lambda place: (options[place].speed.latency_ms, -_top1(options[place]), place))


def has_room(option: Option, needs: Needs) -> bool:
    """Whether the likely speed of a bare bound meets the needs; true of what is measured or scaled."""
    speed = option.speed
    slow = needs.max_latency_ms is not None and (speed.likely_ms or 0) > needs.max_latency_ms
    likely = speed.likely_images_per_second
    weak = needs.min_throughput is not None and likely is not None and likely < needs.min_throughput
    return not (slow or weak)


def _sureness(option: Option) -> tuple[int, int]:
    return option.standing.rank, sum(check.standing.rank for check in option.checks)


def _top1(option: Option) -> float:
    return option.accuracy.top1_percent if option.accuracy.top1_percent is not None else float("-inf")
