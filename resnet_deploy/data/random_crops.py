"""Random crops of images of any size, for training at ImageNet's scale: decoded and cut by worker processes."""

from __future__ import annotations

__all__ = ["area_crop", "crop_batches", "scale_crop"]

import math
import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.workers import map_in_processes, num_processors

_ITEM_IMAGES = 16  # so many images are one piece of work: small enough that all workers share a batch
_IMAGES_AHEAD = 512
_ASPECT = (3 / 4, 4 / 3)
_TRIES = 10
_BILINEAR = Image.Resampling.BILINEAR


def scale_crop(image: np.ndarray, rng: np.random.Generator, *, crop_px: int, scale_px: tuple[int, int]) -> np.ndarray:
    """Resize the shorter side to a length drawn from `scale_px`, cut a random window.

    Only the window is resized, from the part of the image it stands for; Pillow's filter reaches past the
    window's edges as if the whole image had been resized.

    Args:
        image: [H, W, 3] uint8.
        scale_px: Smallest and largest shorter side, both included, drawn uniformly.
    Returns:
        [crop_px, crop_px, 3] uint8.
    Source: He et al., 2016, section 3.4, [256, 480]; Simonyan & Zisserman, arXiv:1409.1556, section 3.1.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    side = int(rng.integers(scale_px[0], scale_px[1], endpoint=True))
    new_width, new_height = width * side // short, height * side // short
    left = int(rng.integers(0, new_width - crop_px, endpoint=True))
    top = int(rng.integers(0, new_height - crop_px, endpoint=True))
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, min((left + crop_px) * across, width), min((top + crop_px) * down, height))
    return np.asarray(Image.fromarray(image).resize((crop_px, crop_px), _BILINEAR, box=box))


def area_crop(image: np.ndarray, rng: np.random.Generator, *, crop_px: int, area: tuple[float, float]) -> np.ndarray:
    """Cut a window of random area and aspect (3/4 to 4/3), resize it to a square.

    Ten windows are tried; where none fits, the largest central one with an aspect in that range is taken.

    Args:
        image: [H, W, 3] uint8.
        area: Smallest and largest share of the image.
    Returns:
        [crop_px, crop_px, 3] uint8.
    Source: Szegedy et al., arXiv:1409.4842, section 6; the tries and the fallback are those of torchvision's
        RandomResizedCrop, so that its recipes carry over.
    """
    left, top, right, bottom = _area_window(*image.shape[:2], rng, area)
    window = Image.fromarray(image[top:bottom, left:right])
    return np.asarray(window.resize((crop_px, crop_px), _BILINEAR))


def crop_batches(
    source: ImageSource,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    crop_px: int,
    scale_px: tuple[int, int] | None = None,
    area: tuple[float, float] | None = None,
    num_workers: int = 0,
    bad: BadImages | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of random crops, the same bytes whatever the number of workers.

    The crop of an image is a function of its pixels and its seed alone. An image that can not be used is replaced
    by the next one of the source that can, whose label the batch then holds. Memory is some 512 crops in
    a block shared with the workers, whatever the size of the set.

    Args:
        batches: Indices into `source` and a seed for each, [B] int64 both; drawn ahead of use.
        scale_px, area: As for `scale_crop` and `area_crop`; exactly one is given.
        num_workers: Decoding processes; 0 takes one a processor.
        bad: Takes note of images that can not be used; None allows none.
    Yields:
        Pixels [B, crop_px, crop_px, 3] uint8 and labels [B] int64; both are the reader's own.
    Raises:
        ConfigError: Both or none of `scale_px` and `area`, or one is out of range.
        DataError: More images than `bad` allows can not be used; names them.
        WorkerError: A decoding process was killed.
    """
    rule = _Rule(crop_px=crop_px, scale_px=scale_px, area=area)
    collected = BadImages() if bad is None else bad
    return _crop_batches(source, batches, rule, num_workers or num_processors(), collected)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    crop_px: int
    scale_px: tuple[int, int] | None
    area: tuple[float, float] | None

    def __post_init__(self) -> None:
        if (self.scale_px is None) == (self.area is None):
            raise ConfigError(
                f"scale_px {self.scale_px} and area {self.area}: exactly one is needed",
                remedy="give the range of the shorter side, or of the share of the image's area",
            )
        if self.scale_px is not None and not self.crop_px <= self.scale_px[0] <= self.scale_px[1]:
            raise ConfigError(
                f"the shorter side {self.scale_px} px must be a range from at least the crop, {self.crop_px} px"
            )
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"the share of the area {self.area} must be a range above 0 and up to 1")

    def crop(self, image: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        if self.scale_px is not None:
            return scale_crop(image, rng, crop_px=self.crop_px, scale_px=self.scale_px)
        return area_crop(image, rng, crop_px=self.crop_px, area=self.area)


def _crop_batches(
    source: ImageSource,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    rule: _Rule,
    num_workers: int,
    bad: BadImages,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    ahead = max(2 * num_workers, _IMAGES_AHEAD // _ITEM_IMAGES)
    task = _CropTask(source, rule, num_slots=ahead + 1, bad_limit=bad.limit)
    sizes: deque[int] = deque()  # of the batches that were handed out and not yet given to the reader

    def items() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        number = 0
        for indices, seeds in batches:
            if not len(indices):
                raise ValueError("a batch of no image")
            sizes.append(len(indices))
            for start in range(0, len(indices), _ITEM_IMAGES):
                part = slice(start, start + _ITEM_IMAGES)
                # Of the items handed out, `ahead` + 1 at most are not yet copied below: no slot is filled twice.
                yield number % (ahead + 1), indices[part], seeds[part]
                number += 1

    pixels = used = np.empty(0)
    filled = 0
    with closing(map_in_processes(task, items(), num_workers=num_workers, ahead=ahead)) as parts:
        for slot, indices, found in parts:
            bad.take(found)
            if filled == 0:
                pixels = np.empty((sizes[0], rule.crop_px, rule.crop_px, 3), dtype=np.uint8)
                used = np.empty(sizes[0], dtype=np.int64)
            part = slice(filled, filled + len(indices))
            pixels[part], used[part] = task.slots[slot, : len(indices)], indices
            filled = part.stop
            if filled == sizes[0]:
                sizes.popleft()
                filled = 0
                yield pixels, source.labels[used]


class _CropTask:
    """Fills one slot of a block of memory that parent and workers share.

    An anonymous mapping is inherited by fork and, unlike named shared memory, not limited by the size of
    /dev/shm, which is 64 MB in a container unless asked otherwise.
    """

    def __init__(self, source: ImageSource, rule: _Rule, *, num_slots: int, bad_limit: int) -> None:
        shape = (num_slots, _ITEM_IMAGES, rule.crop_px, rule.crop_px, 3)
        self.slots = np.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=np.uint8).reshape(shape)
        self._source, self._rule, self._bad_limit = source, rule, bad_limit

    def __call__(self, item: tuple[int, np.ndarray, np.ndarray]) -> tuple[int, np.ndarray, list[BadImage]]:
        """Crop some images into `slot`; gives it, the indices really used and the bad images met."""
        slot, indices, seeds = item
        used = np.empty(len(indices), dtype=np.int64)
        bad: dict[int, BadImage] = {}
        for row, (index, seed) in enumerate(zip(indices.tolist(), seeds.tolist(), strict=True)):
            place = index
            while (image := self._decode(place, bad)) is None:
                if len(bad) > self._bad_limit:
                    return slot, used, list(bad.values())  # the reader raises what it counts
                place = (place + 1) % len(self._source)
            self.slots[slot, row], used[row] = self._rule.crop(image, seed), place
        return slot, used, list(bad.values())

    def _decode(self, index: int, bad: dict[int, BadImage]) -> np.ndarray | None:
        try:
            return self._source.image(index)
        except DataError as error:
            bad[index] = BadImage.of(index, self._source.name(index), error)
            return None


def _area_window(
    height: int, width: int, rng: np.random.Generator, area: tuple[float, float]
) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a window in an image."""
    low, high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    for _ in range(_TRIES):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(0, height - h, endpoint=True)), int(rng.integers(0, width - w, endpoint=True))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * _ASPECT[1])))
    h = min(height, max(1, round(width / _ASPECT[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
