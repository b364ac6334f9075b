"""How many looks a network gets at an image: the test protocols of the paper, as views of one image.

A view is one network input. Every view has a vote of its own, its softmax, and an image's score is their mean
(`verify.averaging`); the paper's word "scores" leaves open what is averaged, the authors' release averages softmax.

Source: arXiv:1512.03385, section 3.4; the README of the authors' release (github.com/KaimingHe/deep-residual-networks).
"""

from __future__ import annotations

__all__ = [
    "MULTI_SCALE_SIDES",
    "MultiScale",
    "Protocol",
    "SingleView",
    "TenCrop",
    "View",
    "ViewPlan",
    "WholeImages",
    "plan_views",
]

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess, ten_crop_side
from resnet_deploy.data.preprocess import crop_pixels, normalize, resize_shorter

MULTI_SCALE_SIDES = (224, 256, 384, 480, 640)
"""Shorter sides of the paper, for networks with an input of 224 px."""

_NATIVE_PX = 224


class Protocol(str, Enum):
    """Which views of an image a network sees."""

    SINGLE = "single"
    TEN_CROP = "ten-crop"
    MULTI_SCALE = "multi-scale"

    def __str__(self) -> str:
        return self.value


class View(typing.NamedTuple):
    """One look at some images of a batch.

    Attributes:
        images: [n, 3, H, W] float32 network inputs, or [H, W, 3] uint8 each for a network that prepares them.
        rows: [n] which images of the batch they are.
    """

    images: np.ndarray | list[np.ndarray]
    rows: np.ndarray


class ViewPlan(typing.Protocol):
    """Makes the views of one network; plans that are equal make the same ones.

    Attributes:
        num_views: Every image gets that many.
        description: For a person.
    """

    @property
    def num_views(self) -> int: ...

    @property
    def description(self) -> str: ...

    def cut(self, image: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        """What the views of one decoded image [H, W, 3] uint8 are made from, still uint8; called in threads."""

    def views(self, cuts: Sequence[tuple[np.ndarray, ...]]) -> Iterator[View]:
        """The views of a batch, one at a time: only one is held as float32."""


@dataclass(frozen=True, slots=True)
class SingleView:
    """The centre crop, as `Preprocess` has it."""

    spec: Preprocess

    @property
    def num_views(self) -> int:
        return 1

    @property
    def description(self) -> str:
        return f"centre {self.spec.width_px}x{self.spec.height_px} px"

    def cut(self, image: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        return (crop_pixels(image, self.spec, name=name),)

    def views(self, cuts: Sequence[tuple[np.ndarray, ...]]) -> Iterator[View]:
        yield View(normalize(np.stack([pixels for (pixels,) in cuts]), self.spec), np.arange(len(cuts)))


@dataclass(frozen=True, slots=True)
class WholeImages:
    """Images as they were decoded, for a network that cuts the centre itself, as `Preprocess` has it."""

    spec: Preprocess

    @property
    def num_views(self) -> int:
        return 1

    @property
    def description(self) -> str:
        return f"centre {self.spec.width_px}x{self.spec.height_px} px, cut in the graph"

    def cut(self, image: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        return (image,)

    def views(self, cuts: Sequence[tuple[np.ndarray, ...]]) -> Iterator[View]:
        yield View([image for (image,) in cuts], np.arange(len(cuts)))


@dataclass(frozen=True, slots=True)
class TenCrop:
    """Four corners and the centre of the whole resized image, not of its middle square, each also mirrored.

    The centre's offsets are rounded half to even, as in `Preprocess`.

    Attributes:
        resize_px: The shorter side is resized to it, at least the crop's longer side; the paper's 256 for crops of 224.
    """

    spec: Preprocess
    resize_px: int

    @property
    def num_views(self) -> int:
        return 10

    @property
    def description(self) -> str:
        size = f"{self.spec.width_px}x{self.spec.height_px}"
        return f"4 corners and centre {size} px at shorter side {self.resize_px}, and their mirror images"

    def cut(self, image: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        resized = resize_shorter(image, self.resize_px)
        height, width = self.spec.height_px, self.spec.width_px
        below, beside = resized.shape[0] - height, resized.shape[1] - width
        places = [(0, 0), (0, beside), (below, 0), (below, beside), (round(below / 2), round(beside / 2))]
        return tuple(resized[top : top + height, left : left + width] for top, left in places)

    def views(self, cuts: Sequence[tuple[np.ndarray, ...]]) -> Iterator[View]:
        rows = np.arange(len(cuts))
        for crops in zip(*cuts, strict=True):
            images = normalize(np.stack(crops), self.spec)
            yield View(images, rows)
            yield View(np.ascontiguousarray(images[..., ::-1]), rows)


@dataclass(frozen=True, slots=True)
class MultiScale:
    """The whole image at several sizes, each also mirrored, for a network that takes any size.

    The network averages the softmax over its window positions, so a view is one size; each size has the same
    vote, whatever its number of positions. Images keep their aspect ratio and nothing is cut away. Mirror images
    are those of the fully convolutional protocol that the paper refers to (Simonyan and Zisserman).

    Attributes:
        sides: Shorter sides.
        max_pixels: Of one forward pass; images of one size are run together up to it.
    """

    spec: Preprocess
    sides: tuple[int, ...]
    max_pixels: int

    @property
    def num_views(self) -> int:
        return 2 * len(self.sides)

    @property
    def description(self) -> str:
        return f"fully convolutional at shorter sides {', '.join(map(str, self.sides))}, and their mirror images"

    def cut(self, image: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        return tuple(resize_shorter(image, side) for side in self.sides)

    def views(self, cuts: Sequence[tuple[np.ndarray, ...]]) -> Iterator[View]:
        for resized in zip(*cuts, strict=True):
            by_size: dict[tuple[int, ...], list[int]] = {}
            for row, pixels in enumerate(resized):
                by_size.setdefault(pixels.shape, []).append(row)
            for (height, width, _), rows in by_size.items():
                step = max(1, self.max_pixels // (height * width))
                for chosen in (rows[start : start + step] for start in range(0, len(rows), step)):
                    images = normalize(np.stack([resized[row] for row in chosen]), self.spec)
                    yield View(images, np.array(chosen))
                    yield View(np.ascontiguousarray(images[..., ::-1]), np.array(chosen))


def plan_views(
    protocol: Protocol,
    spec: Preprocess,
    *,
    batch_size: int,
    resize_px: int | None = None,
    sides: tuple[int, ...] = (),
) -> ViewPlan:
    """The views of a protocol for a network whose pixel path is `spec`.

    Args:
        batch_size: Images of the network's own size in one forward pass.
        resize_px: Shorter side of ten-crop; None takes 256/224 of the crop, as in the paper.
        sides: Of multi-scale; empty takes the paper's, which are for an input of 224 px.
    Raises:
        ConfigError: A size is smaller than the network's input, or there is no usual one for it.
    """
    longest = max(spec.height_px, spec.width_px)
    size = f"{spec.width_px}x{spec.height_px} px"
    if protocol is Protocol.SINGLE:
        return SingleView(spec)
    if protocol is Protocol.TEN_CROP:
        chosen = ten_crop_side(spec) if resize_px is None else resize_px
        if chosen < longest:
            raise ConfigError(f"--resize is {chosen}, smaller than the network's input {size}")
        return TenCrop(spec, chosen)
    if not sides and longest != _NATIVE_PX:
        raise ConfigError(
            f"the paper's multi-scale sides ({', '.join(map(str, MULTI_SCALE_SIDES))}) are for an input of "
            f"{_NATIVE_PX} px, this network's is {size}",
            remedy=f"name the shorter sides, for example --sides {longest},{longest * 5 // 4},{longest * 3 // 2}",
        )
    small = [side for side in sides if side < longest]
    if small:
        raise ConfigError(
            f"--sides {small[0]} is smaller than the network's input {size}, so no window fits",
            remedy=f"take sides from {longest} up",
        )
    return MultiScale(spec, sides or MULTI_SCALE_SIDES, batch_size * spec.height_px * spec.width_px)
