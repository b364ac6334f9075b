"""Mistakes that applications make when they prepare images, as variants of `data.preprocess`.

Each is one step done differently, all else as in the right pixel path. They are for measuring what a mistake costs,
never for preparing images.
"""

from __future__ import annotations

__all__ = ["MISTAKES", "PixelMistake"]

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.preprocess import crop_pixels, normalize, resize_shorter

Cut = Callable[[np.ndarray, Preprocess], np.ndarray]
Normalize = Callable[[np.ndarray, Preprocess], np.ndarray]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""Mean and standard deviation of the training images, of torchvision's references and of most CIFAR-10 code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelMistake:
    """One way to prepare images wrongly.

    Attributes:
        name: For tables.
        words: What the application does, in words.
        cut: [H, W, 3] uint8 and the right rule -> [height_px, width_px, 3] uint8; None where this is done rightly.
        normalize: [N, H, W, 3] uint8 and the right rule -> [N, 3, H, W] float32; None where this is done rightly.
    """

    name: str
    words: str
    cut: Cut | None = None
    normalize: Normalize | None = None


def _no_antialias(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Bilinear between the four nearest pixels, pixel centres at halves, as cv::resize with INTER_LINEAR does."""
    return _resized(image, spec, _four_neighbours)


def _nearest(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    return _resized(image, spec, lambda pixels, size: _by_pillow(pixels, size, Image.Resampling.NEAREST))


def _bicubic(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    return _resized(image, spec, lambda pixels, size: _by_pillow(pixels, size, Image.Resampling.BICUBIC))


def _squashed(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    return _by_pillow(image, (spec.width_px, spec.height_px), Image.Resampling.BILINEAR)


def _no_margin(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Where the right rule does not resize, there is no margin to lose."""
    if spec.resize_shorter_px is None:
        return crop_pixels(image, spec)
    return crop_pixels(image, replace(spec, resize_shorter_px=max(spec.height_px, spec.width_px)))


def _top_left(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    crop_pixels(image, spec)  # refuses what is too small
    if spec.resize_shorter_px is not None:
        image = resize_shorter(image, spec.resize_shorter_px)
    return image[: spec.height_px, : spec.width_px]


def _bgr(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    return normalize(pixels[..., ::-1], spec)


def _not_divided(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    x = (pixels.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))


def _not_standardised(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    return normalize(pixels, replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


def _minus_one_to_one(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    return normalize(pixels, replace(spec, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


def _other_statistics(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    mean, std = _CIFAR if (spec.mean, spec.std) == _IMAGENET else _IMAGENET
    return normalize(pixels, replace(spec, mean=mean, std=std))


def _channels_last(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    right = normalize(pixels, spec)
    return np.ascontiguousarray(np.moveaxis(right, -3, -1)).reshape(right.shape)


MISTAKES: tuple[PixelMistake, ...] = (
    PixelMistake(
        name="no antialias", words="bilinear resize without antialias, as OpenCV's default", cut=_no_antialias
    ),
    PixelMistake(name="nearest", words="resize takes the nearest pixel", cut=_nearest),
    PixelMistake(name="bicubic", words="bicubic resize (with antialias)", cut=_bicubic),
    PixelMistake(name="squash", words="the whole image is resized to the input, its shape is lost", cut=_squashed),
    PixelMistake(
        name="no margin", words="the shorter side is resized to the input's, no border is cut", cut=_no_margin
    ),
    PixelMistake(name="top-left crop", words="the crop is taken at the top left, not at the centre", cut=_top_left),
    PixelMistake(name="BGR", words="channels in the order blue, green, red, as OpenCV reads them", normalize=_bgr),
    PixelMistake(name="no /255", words="mean and std are applied to 0 .. 255, not to 0 .. 1", normalize=_not_divided),
    PixelMistake(name="no mean/std", words="only divided by 255", normalize=_not_standardised),
    PixelMistake(name="-1 .. 1", words="mean and std of 0.5, for all channels", normalize=_minus_one_to_one),
    PixelMistake(
        name="other mean/std",
        words="mean and std of ImageNet (or, where those are right, of CIFAR-10)",
        normalize=_other_statistics,
    ),
    PixelMistake(
        name="channels last",
        words="numbers in the order H, W, C where the network reads C, H, W",
        normalize=_channels_last,
    ),
)
"""In the order of the pixel path."""


def _resized_size(image: np.ndarray, spec: Preprocess) -> tuple[int, int]:
    """Height and width after the right resize, as `data.preprocess.resize_shorter` rounds them."""
    height, width = image.shape[:2]
    if spec.resize_shorter_px is None:
        return height, width
    short = min(height, width)
    return height * spec.resize_shorter_px // short, width * spec.resize_shorter_px // short


def _resized(
    image: np.ndarray, spec: Preprocess, resize: Callable[[np.ndarray, tuple[int, int]], np.ndarray]
) -> np.ndarray:
    """Resize by `resize`, which takes (width, height), then cut the centre as usual."""
    height, width = _resized_size(image, spec)
    if (height, width) != image.shape[:2]:
        image = resize(image, (width, height))
    return crop_pixels(image, replace(spec, resize_shorter_px=None))


def _by_pillow(image: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    if (size[1], size[0]) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize(size, how))


def _four_neighbours(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8 -> [height, width, 3] uint8, rounded to nearest."""
    width, height = size
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    across, down = across[None, :, None], down[:, None, None]
    rows = image.astype(np.float32)
    rows = rows[:, left] * (1 - across) + rows[:, right] * across
    return np.rint(rows[top] * (1 - down) + rows[bottom] * down).astype(np.uint8)


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each new place: the places before and after it, and the weight of the one after."""
    place = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    before = np.floor(place).astype(np.int64)
    return before, np.minimum(before + 1, old - 1), (place - before).astype(np.float32)
