"""A made-up photograph: the image on which a bundle proves itself where no other is given.

Whole numbers only, so every machine makes the same pixels. It has what shows a wrong pixel path: another red than blue
everywhere, no symmetry, fine texture that a resize without a filter turns into other values, and sides that are neither
equal nor those of the crop.
"""

from __future__ import annotations

__all__ = ["golden_pixels", "golden_size"]

import numpy as np

from resnet_deploy.core.specs import Preprocess

_OCTAVES = ((3, 116), (7, 70), (19, 40), (61, 20))  # cells along the longer side, share of 246 levels
_FRACTION = 8  # bits of the place between two cells
_TINTS = ((236, 150, 64), (52, 118, 214), (150, 220, 84), (225, 60, 140))
_NUM_DISCS = 5


def golden_size(preprocess: Preprocess) -> tuple[int, int]:
    """Height and width: the resize has to shrink both, by a ratio that is no whole number; the crop cuts off the sides."""
    if preprocess.resize_shorter_px is None:
        return preprocess.height_px * 5 // 4 + 1, preprocess.width_px * 3 // 2 + 1
    shorter = preprocess.resize_shorter_px * 11 // 8 + 1
    return shorter, shorter * 4 // 3 + 1


def golden_pixels(height_px: int, width_px: int, *, seed: int = 0) -> np.ndarray:
    """[H, W, 3] uint8 RGB."""
    rng = np.random.default_rng(seed)
    channels = [_cloud(height_px, width_px, rng) for _ in range(3)]
    common = _cloud(height_px, width_px, rng)
    image = np.stack([(common * 5 + channel * 3) >> 3 for channel in channels], axis=2)
    ys, xs = np.mgrid[:height_px, :width_px]
    for _ in range(_NUM_DISCS):
        centre_y, centre_x = int(rng.integers(height_px)), int(rng.integers(width_px))
        radius = int(rng.integers(max(height_px // 8, 2), max(height_px // 3, 3)))
        inside = (ys - centre_y) ** 2 + (xs - centre_x) ** 2 * 2 < radius**2
        tint = np.array(_TINTS[int(rng.integers(len(_TINTS)))])
        image[inside] = (image[inside] + 2 * tint) // 3
    grain = rng.integers(-9, 10, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _cloud(height_px: int, width_px: int, rng: np.random.Generator) -> np.ndarray:
    """[H, W] of 5 to 250: noise of several sizes, interpolated linearly in whole numbers."""
    total = np.full((height_px, width_px), 5, np.int64)
    longer = max(height_px, width_px)
    for cells, share in _OCTAVES:
        grid = rng.integers(0, 256, (cells + 2, cells + 2), np.int64)
        y, y_part = _places(height_px, longer, cells)
        x, x_part = _places(width_px, longer, cells)
        one = 1 << _FRACTION
        rows = grid[y] * (one - y_part)[:, None] + grid[y + 1] * y_part[:, None]
        level = rows[:, x] * (one - x_part) + rows[:, x + 1] * x_part
        total += (level * share >> (2 * _FRACTION)) >> 8
    return total


def _places(size: int, longer: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the cell of each pixel, and where it lies in it in 1/256."""
    place = (np.arange(size) * cells << _FRACTION) // longer
    return place >> _FRACTION, place & ((1 << _FRACTION) - 1)
