"""The EXIF orientation of an image, 1 to 8, and turning pixels by it."""

from __future__ import annotations

__all__ = ["UPRIGHT", "tiff_orientation", "turned"]

import numpy as np

UPRIGHT = 1
_ORIENTATION_TAG, _SHORT = 0x0112, 3
_ENTRY_BYTES = 12


def tiff_orientation(block: bytes) -> int:
    """The orientation of a TIFF block, which is what EXIF is; upright where it says none or is damaged.

    Only the first directory is read. Our own, because Pillow's reader joins several blocks and falls back on XMP,
    and C++ must find the same.
    """
    order = {b"MM\0*": "big", b"II*\0": "little"}.get(block[:4])
    if order is None or len(block) < 8:
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)

    directory = number(4, 4)
    if directory > len(block) - 2:
        return UPRIGHT
    first = directory + 2
    num_entries = min(number(directory, 2), (len(block) - first) // _ENTRY_BYTES)
    for entry in range(first, first + num_entries * _ENTRY_BYTES, _ENTRY_BYTES):
        if number(entry, 2) == _ORIENTATION_TAG:
            value = number(entry + 8, 2)
            is_one_short = number(entry + 2, 2) == _SHORT and number(entry + 4, 4) == 1
            return value if is_one_short and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, 3] as stored -> the image as its photographer saw it, contiguous; 5 to 8 swap the sides."""
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)
