"""The Pareto set: the options that no other is known to beat."""

from __future__ import annotations

__all__ = ["pareto_set"]

from collections.abc import Sequence

import numpy as np

from resnet_deploy.bench.advisor.advice import Option


def pareto_set(options: Sequence[Option]) -> tuple[int, ...]:
    """Places of the options that no other option dominates.

    A dominates B where A is at least as good in everything and better in something. What counts: latency of a pass and
    throughput (of a bare bound the likely ones as well), top-1, energy of an image, and how certain the speed is. A
    figure that is not known is the worst there is. Certainty counts because a bound is optimistic: a measured run that is faster than another option's bound
    beats that option for sure, while a bound that is faster than a measured run proves nothing.

    Returns:
        In the order of `options`; of two options with equal figures both.
    Source: the usual partial order on vectors (Pareto dominance); it is transitive, so whatever is left out is
        dominated by something that is not.
    """
    if not options:
        return ()
    merits = np.array([_merits(option) for option in options])  # [options, 7], larger is better
    return tuple(place for place, own in enumerate(merits) if not _is_dominated(own, merits))


def _is_dominated(own: np.ndarray, merits: np.ndarray) -> bool:
    return bool(np.any(np.all(merits >= own, axis=1) & np.any(merits > own, axis=1)))


def _merits(option: Option) -> tuple[float, ...]:
    speed, worst = option.speed, float("-inf")
    return (
        -speed.latency_ms,
        speed.images_per_second,
        -(speed.likely_ms or speed.latency_ms),
        speed.likely_images_per_second or speed.images_per_second,
        worst if option.accuracy.top1_percent is None else option.accuracy.top1_percent,
        worst if speed.joules_per_image is None else -speed.joules_per_image,
        speed.basis.certainty,
    )
