"""Speed of every option on a target: measured where it was measured, else the roofline's bound, scaled if possible."""

from __future__ import annotations

__all__ = ["Bound", "BoundModel", "Key", "speeds_of"]

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from resnet_deploy.bench.advisor.advice import KnownSpeed, SpeedBasis
from resnet_deploy.bench.advisor.measured import MeasuredRun
from resnet_deploy.core.specs import Precision


class Key(NamedTuple):
    """What is run."""

    net: str
    size_px: int
    precision: Precision
    batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Lower bound on the time of a pass, and the throughput that follows from it.

    Attributes:
        limited_by: "arithmetic" or "memory".
        likely_ms, likely_images_per_second: What published runs let expect, a rule of thumb.
    """

    latency_ms: float
    images_per_second: float
    limited_by: str
    likely_ms: float
    likely_images_per_second: float


BoundModel = Callable[[Key], "Bound | None"]
"""The roofline of one target; None where the target has no unit for that precision."""


def speeds_of(
    keys: Sequence[Key], runs: Iterable[MeasuredRun], bound_of: BoundModel | None
) -> list[tuple[Key, str, str, KnownSpeed]]:
    """What is known of the speed of `keys`: (key, backend, device, speed), one for each backend that ran it.

    A key that was measured stands as it was measured, the latest run of each backend (of several repeats in it, the
    middle one). Else the bound is multiplied by
    measured / bound, the median over the runs of that precision (those of the same batch size where there are any, and
    of several backends the fastest). Without such runs the bound itself stands; without a bound the key is left out.

    Args:
        runs: On this target.
        bound_of: The target's roofline; None where there is none.
    """
    latest = _latest(runs)
    bounds = {key: bound_of(key) if bound_of else None for key in {*keys, *(key for key, _, _ in latest)}}
    ratios = _ratios(latest.values(), bounds)
    found = []
    for key in keys:
        own = [(where, run) for where, run in latest.items() if where[0] == key]
        found.extend((key, run.backend, run.device, _measured(run, bounds[key])) for _, run in own)
        if not own and (bound := bounds[key]) is not None:
            found.append((key, "", "", _estimated(key, bound, ratios)))
    return found


def _latest(runs: Iterable[MeasuredRun]) -> dict[tuple[Key, str, str], MeasuredRun]:
    """By key, backend and device."""
    together: dict[tuple[Key, str, str], dict[tuple[str, str], list[MeasuredRun]]] = {}
    for run in runs:
        same = together.setdefault((_key(run), run.backend, run.device), {})
        same.setdefault((run.created, run.source), []).append(run)
    found = {}
    for where, by_file in together.items():
        repeats = sorted(by_file[max(by_file)], key=lambda run: run.p50_ms)
        found[where] = repeats[(len(repeats) - 1) // 2]
    return found


def _key(run: MeasuredRun) -> Key:
    return Key(run.net, run.size_px, run.precision, run.batch)


def _ratios(runs: Iterable[MeasuredRun], bounds: dict[Key, Bound | None]) -> dict[Key, float]:
    """Measured / bound of every key that was measured, by its fastest backend."""
    fastest: dict[Key, float] = {}
    for run in runs:
        bound = bounds[_key(run)]
        if bound is not None:
            ratio = run.p50_ms / bound.latency_ms
            fastest[_key(run)] = min(ratio, fastest.get(_key(run), ratio))
    return fastest


def _measured(run: MeasuredRun, bound: Bound | None) -> KnownSpeed:
    why_not = f"; not valid: {run.why_not_valid}" if run.why_not_valid else ""
    return KnownSpeed(
        basis=SpeedBasis.NOT_VALID if run.why_not_valid else SpeedBasis.MEASURED,
        latency_ms=run.p50_ms,
        images_per_second=run.images_per_second,
        bound_ms=bound.latency_ms if bound else None,
        bound_images_per_second=bound.images_per_second if bound else None,
        p99_ms=run.p99_ms,
        joules_per_image=run.joules_per_image,
        watts=run.watts,
        num_runs=1,
        source=run.source + why_not,
    )


def _estimated(key: Key, bound: Bound, ratios: dict[Key, float]) -> KnownSpeed:
    alike = {other: ratio for other, ratio in ratios.items() if other.precision is key.precision}
    same_batch = {other: ratio for other, ratio in alike.items() if other.batch == key.batch}
    used = same_batch or alike
    factor = statistics.median(used.values()) if used else 1.0
    return KnownSpeed(
        basis=SpeedBasis.SCALED if used else SpeedBasis.BOUND,
        likely_ms=None if used else bound.likely_ms,
        likely_images_per_second=None if used else bound.likely_images_per_second,
        latency_ms=bound.latency_ms * factor,
        images_per_second=bound.images_per_second / factor,
        bound_ms=bound.latency_ms,
        bound_images_per_second=bound.images_per_second,
        num_runs=len(used),
        source=f"limited by {bound.limited_by}"
        + (f"; measured runs take {factor:.2f} times the bound" if used else ""),
    )
