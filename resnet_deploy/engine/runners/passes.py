"""Which passes through a network a call of any batch size becomes: split over the largest, filled up to the smallest."""

from __future__ import annotations

__all__ = ["Pass", "filled_size", "graph_sizes", "plan_passes", "profile_index", "why_not_one_pass"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.contract import RunnerInfo, ShapeProfile

_FREE_ROWS, _FREE_SHARE = 4, 1 / 3  # see filled_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """Rows [start, stop) of a call, run as a batch of `size`: the last row is repeated to fill it up."""

    start: int
    stop: int
    size: int


def plan_passes(
    info: RunnerInfo, count: int, row: Sequence[int], *, fill: Callable[[int], int] = lambda size: size
) -> tuple[Pass, ...]:
    """The passes that `count` rows of shape `row` (C, H, W) become: as few as the network's largest batch allows.

    Args:
        fill: The batch size to run in place of one that fits, that size or a larger one.
    Raises:
        EngineRunError: No optimization profile holds rows of that shape.
    """
    ranges = _batch_ranges(info, row)
    largest = min(count, max(high for _, high in ranges))
    passes = []
    for start in range(0, count, int(largest)):
        stop = min(start + int(largest), count)
        passes.append(Pass(start=start, stop=stop, size=fill(_smallest_fit(ranges, stop - start))))
    return tuple(passes)


def why_not_one_pass(info: RunnerInfo, count: int) -> str:
    """Why a batch of `count` images can not be one pass as it is; empty where it can."""
    if info.max_batch is not None and count > info.max_batch and info.fixed_batch is None:
        return f"batch {count} is over this file's largest, {info.max_batch}"
    if info.fixed_batch not in (None, count):
        return f"this file takes a batch of {info.fixed_batch} alone, not {count}"
    if info.profiles and not any(p.min[0] <= count <= p.max[0] for p in info.profiles):
        ranges = ", ".join(f"{p.min[0]} to {p.max[0]}" for p in info.profiles)
        return f"batch {count} is in no optimization profile of this file ({ranges})"
    return ""


def profile_index(profiles: Sequence[ShapeProfile], shape: Sequence[int]) -> int | None:
    """The profile to run `shape` in: of those that hold it the one with the smallest maximum, then the nearest optimum."""
    fitting = [
        (math.prod(profile.max), abs(math.prod(profile.opt) - math.prod(shape)), index)
        for index, profile in enumerate(profiles)
        if _within(profile.min, shape, profile.max)
    ]
    return min(fitting)[2] if fitting else None


def graph_sizes(profile: ShapeProfile) -> tuple[int, ...]:
    """Batch sizes that are worth a CUDA graph each: the profile's three, and the powers of two between."""
    low, high = profile.min[0], profile.max[0]
    powers = {2**power for power in range(high.bit_length()) if low <= 2**power <= high}
    return tuple(sorted(powers | {low, profile.opt[0], high}))


def filled_size(sizes: Sequence[int], count: int) -> int | None:
    """The next of `sizes` that holds `count` where filling up costs little, else None.

    A pass of few rows is bound by its launches, which a graph takes away, and rows more cost next to nothing; a
    large one is bound by its arithmetic. Hence: at most four rows, or a third of the batch, are added.
    """
    size = next((size for size in sorted(sizes) if size >= count), None)
    return size if size is not None and size - count <= max(_FREE_ROWS, count * _FREE_SHARE) else None


def _within(low: Sequence[int], shape: Sequence[int], high: Sequence[int]) -> bool:
    return len(low) == len(shape) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))


def _batch_ranges(info: RunnerInfo, row: Sequence[int]) -> list[tuple[float, float]]:
    """Smallest and largest N, per profile that holds such rows."""
    if not info.profiles:
        if info.fixed_batch is not None:
            return [(info.fixed_batch, info.fixed_batch)]
        return [(1, math.inf if info.max_batch is None else info.max_batch)]
    ranges = [(p.min[0], p.max[0]) for p in info.profiles if _within(p.min[1:], row, p.max[1:])]
    if not ranges:
        known = "; ".join(f"{list(p.min[1:])} to {list(p.max[1:])}" for p in info.profiles)
        raise EngineRunError(
            f"{info.file}: no optimization profile holds images of {list(row)}, they hold {known}",
            remedy="resize the images, or build with a profile for that size",
        )
    return ranges


def _smallest_fit(ranges: Sequence[tuple[float, float]], count: int) -> int:
    """Of the ranges that reach `count`, the size with the fewest rows to fill up."""
    return int(min(max(count, low) for low, high in ranges if count <= high))
