"""From the bytes of an image file to pixels."""

from __future__ import annotations

__all__ = ["IMAGE_SUFFIXES", "decode_image", "is_image"]

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.image_frame import check_image_frame
from resnet_deploy.data.orientation import UPRIGHT, turned

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")


def is_image(name: str) -> bool:
    """Whether a file name (no folder) is that of an image; hidden files are not."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def decode_image(data: bytes, *, name: str, apply_orientation: bool = False) -> np.ndarray:
    """Decode an image file to [H, W, 3] uint8 RGB, as docs/reference/preprocess.md has it.

    Grayscale, palette and CMYK files are converted as Pillow does; of 16 bits a pixel the upper 8 are kept;
    transparency is dropped. Of JPEG and PNG files C++ makes the same bytes and refuses the same files.

    Args:
        name: The file's name, for the message.
        apply_orientation: Turn the image as its EXIF tag says (JPEG and PNG). The pixel contract takes it as stored.
    Raises:
        DataError: Not an image, cut off, of 32 bits a pixel and channel, or larger than Pillow's limit against
            decompression bombs; see also `image_frame`.
    """
    try:
        orientation = check_image_frame(data)
        with Image.open(io.BytesIO(data)) as image:
            pixels = _rgb(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"{error}"
        raise DataError(
            f"{name}: can not be decoded ({reason}; {len(data)} bytes)", remedy="remove or replace this file"
        ) from error
    return turned(pixels, orientation) if apply_orientation and orientation != UPRIGHT else pixels


def _rgb(image: Image.Image) -> np.ndarray:
    """Pillow's own conversion clips what has more than 8 bits, so that nearly all of it is white."""
    if image.mode == "F":
        raise ValueError("its pixels are floats, expected 8 or 16 bits a channel")
    if not image.mode.startswith("I"):
        return np.asarray(image.convert("RGB"))
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"its pixels go from {values.min()} to {values.max()}, expected 8 or 16 bits a channel")
    return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
