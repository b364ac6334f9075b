"""The pixel path of `core.specs.Preprocess`, on the host."""

from __future__ import annotations

__all__ = ["crop_pixels", "normalize", "preprocess", "resize_shorter"]

import numpy as np
from PIL import Image

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess


def preprocess(image: np.ndarray, spec: Preprocess, *, name: str = "image") -> np.ndarray:
    """One decoded image [H, W, 3] uint8 -> network input [3, height_px, width_px] float32."""
    return normalize(crop_pixels(image, spec, name=name), spec)


def crop_pixels(image: np.ndarray, spec: Preprocess, *, name: str = "image") -> np.ndarray:
    """Resize the shorter side and cut the centre: [H, W, 3] uint8 -> [height_px, width_px, 3] uint8.

    Raises:
        DataError: The image is smaller than the crop and `spec` does not resize.
    """
    if spec.resize_shorter_px is not None:
        image = resize_shorter(image, spec.resize_shorter_px)
    height, width = image.shape[:2]
    if height < spec.height_px or width < spec.width_px:
        raise DataError(
            f"{name} is {width}x{height} px, the network's input {spec.width_px}x{spec.height_px} px, "
            "and its preprocessing does not resize",
            remedy="give larger images, or a preprocessing with resize_shorter_px",
        )
    top, left = round((height - spec.height_px) / 2), round((width - spec.width_px) / 2)
    return image[top : top + spec.height_px, left : left + spec.width_px]


def resize_shorter(image: np.ndarray, shorter_px: int) -> np.ndarray:
    """Resize [H, W, 3] uint8 so that its shorter side is `shorter_px`; the longer side is rounded down.

    Pillow 13 chooses the order of its two passes by the sizes, earlier releases do not; asking for one pass
    at a time fixes it to horizontal first, whatever the release.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    if short == shorter_px:
        return image
    new_width, new_height = width * shorter_px // short, height * shorter_px // short
    picture = Image.fromarray(image).resize((new_width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((new_width, new_height), Image.Resampling.BILINEAR))


def normalize(pixels: np.ndarray, spec: Preprocess) -> np.ndarray:
    """[..., H, W, 3] uint8 -> [..., 3, H, W] float32 of (x / 255 - mean) / std, contiguous."""
    mean, std = np.float32(spec.mean), np.float32(spec.std)
    x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))
