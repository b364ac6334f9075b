"""Which batch and image sizes the gate runs: every profile corner, sizes in between, and one past the border."""

from __future__ import annotations

__all__ = ["SanityShapes", "shapes_to_run"]

from dataclasses import dataclass

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.engine.contract import RunnerInfo

_USUAL_BATCHES = (1, 2, 3, 7, 8, 32)
"""Where no profile says the batches: single, even, odd, either side of a power of two, and a large one."""
_USUAL_SIDE_PX = 224


@dataclass(frozen=True, kw_only=True, slots=True)
class SanityShapes:
    """Batch sizes at one image size.

    Attributes:
        smallest: The smallest batch of one pass, from which the reference answers come.
        batches: Ascending; some are less than one pass, which `run` fills up, and some more, which it splits.
    """

    height_px: int
    width_px: int
    smallest: int
    batches: tuple[int, ...]


def shapes_to_run(info: RunnerInfo, preprocess: Preprocess | None) -> tuple[SanityShapes, ...]:
    """One entry an image size: the usual size first, then the corners of profiles with dynamic height and width.

    A profile gives 1, its smallest, usual and largest batch, those just outside, the one below the largest, the middle,
    3 and 7. A network of a fixed batch is a profile of one size.
    """
    height_axis, width_axis = (1, 2) if _channels_last(info) else (2, 3)
    declared = info.inputs[0].shape
    by_size: dict[tuple[int, int], set[int]] = {}
    for kind in ("opt", "min", "max"):
        for profile in info.profiles:
            shape = getattr(profile, kind)
            side = shape[height_axis], shape[width_axis]
            by_size.setdefault(side, set()).update(_around(profile.min[0], profile.opt[0], profile.max[0]))
    if not by_size:
        height, width = preprocess.input_shape[1:] if preprocess else (_USUAL_SIDE_PX, _USUAL_SIDE_PX)
        sides = [(_fixed(declared[height_axis], height), _fixed(declared[width_axis], width))]
        if not (_is_fixed(declared[height_axis]) or _is_fixed(declared[width_axis])):
            sides.append((height + max(height // 4, 1), width + max(width // 2, 1)))  # larger, and not square
        by_size = {side: _free_batches(info) for side in sides}
    return tuple(
        SanityShapes(height_px=height, width_px=width, smallest=info.min_batch, batches=tuple(sorted(batches)))
        for (height, width), batches in by_size.items()
    )


def _around(smallest: int, usual: int, largest: int) -> set[int]:
    corners = {smallest, usual, largest, smallest - 1, largest - 1, largest + 1}
    return {batch for batch in corners | {1, 3, 7, (smallest + largest) // 2} if 0 < batch <= largest + 1}


def _free_batches(info: RunnerInfo) -> set[int]:
    if info.fixed_batch is not None:
        return _around(info.fixed_batch, info.fixed_batch, info.fixed_batch) | {2}
    if info.max_batch is not None:
        return _around(1, 1, info.max_batch)
    return set(_USUAL_BATCHES)


def _channels_last(info: RunnerInfo) -> bool:
    shape = info.inputs[0].shape
    return shape[3] in (1, 3) and shape[1] not in (1, 3)


def _is_fixed(axis: int | str) -> bool:
    return isinstance(axis, int) and axis > 0


def _fixed(axis: int | str, otherwise: int) -> int:
    return axis if _is_fixed(axis) else otherwise
