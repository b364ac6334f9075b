"""The pixel path of `core.specs.Preprocess`, on the host."""

from __future__ import annotations

__all__ = ["MAX_SIDE_PX", "crop_pixels", "normalize", "preprocess", "resize_shorter"]

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.resize import resize_window

MAX_SIDE_PX = 65_535
"""The longest side whose resize fits the integers of the contract; also JPEG's own limit."""


def preprocess(image: np.ndarray, spec: Preprocess, *, name: str = "image") -> np.ndarray:
    """One decoded image [H, W, 3] uint8 -> network input [3, height_px, width_px] float32."""
    return normalize(crop_pixels(image, spec, name=name), spec)


def crop_pixels(image: np.ndarray, spec: Preprocess, *, name: str = "image") -> np.ndarray:
    """Resize the shorter side and cut the centre: [H, W, 3] uint8 -> [height_px, width_px, 3] uint8.

    Raises:
        DataError: The image is smaller than the crop and `spec` does not resize, or a side is over MAX_SIDE_PX.
    """
    _refuse_long_sides(image, name)
    height, width = image.shape[:2]
    if spec.resize_shorter_px is not None:
        height, width = _resized(height, width, spec.resize_shorter_px)
    if height < spec.height_px or width < spec.width_px:
        raise DataError(
            f"{name} is {width}x{height} px, the network's input {spec.width_px}x{spec.height_px} px, "
            "and its preprocessing does not resize",
            remedy="give larger images, or a preprocessing with resize_shorter_px",
        )
    top, left = round((height - spec.height_px) / 2), round((width - spec.width_px) / 2)
    rows, columns = range(top, top + spec.height_px), range(left, left + spec.width_px)
    if (height, width) == image.shape[:2]:
        return image[rows.start : rows.stop, columns.start : columns.stop]
    return resize_window(image, (height, width), rows, columns)


def resize_shorter(image: np.ndarray, shorter_px: int) -> np.ndarray:
    """Resize [H, W, 3] uint8 so that its shorter side is `shorter_px`; the longer side is rounded down."""
    _refuse_long_sides(image, "image")
    height, width = _resized(*image.shape[:2], shorter_px)
    if (height, width) == image.shape[:2]:
        return image
    return resize_window(image, (height, width), range(height), range(width))


def _resized(height: int, width: int, shorter_px: int) -> tuple[int, int]:
    short = min(height, width)
    return height * shorter_px // short, width * shorter_px // short


def _refuse_long_sides(image: np.ndarray, name: str) -> None:
    if max(image.shape[:2]) > MAX_SIDE_PX:
        raise DataError(
            f"{name} is {image.shape[1]}x{image.shape[0]} px; both sides must be at most {MAX_SIDE_PX} px",
            remedy="cut it into smaller images",
        )


def normalize(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    """[..., H, W, 3] uint8 -> [..., 3, H, W] float32 of (x / 255 - mean) / std, contiguous."""
    mean, std = np.float32(spec.mean), np.float32(spec.std)
    x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))
