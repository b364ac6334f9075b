"""From the bytes of an image file to pixels."""

from __future__ import annotations

__all__ = ["IMAGE_SUFFIXES", "decode_image", "is_image"]

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_deploy.core.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")


def is_image(name: str) -> bool:
    """Whether a file name (no folder) is that of an image; hidden files are not."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def decode_image(data: bytes, *, name: str) -> np.ndarray:
    """Decode an image file to [H, W, 3] uint8 RGB.

    Grayscale, palette and CMYK files are converted as Pillow does; transparency is dropped; EXIF rotation
    is not applied.

    Args:
        name: The file's name, for the message.
    Raises:
        DataError: Not an image, cut off, or larger than Pillow's limit against decompression bombs.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"{error}"
        raise DataError(
            f"{name}: can not be decoded ({reason}; {len(data)} bytes)", remedy="remove or replace this file"
        ) from error
