"""The resize weights of the pixel contract in Python's own integers, which have no width and do not overflow."""

from __future__ import annotations

import numpy as np

BITS = 22


def exact_weights(
    length: int, shorter: int, *, resize_px: int, crop_px: int, columns: range | None = None
) -> np.ndarray:
    """[L, C] int64: what output i of the crop takes of input j, in 2^-22; only some outputs where `columns` says which.

    The triangle has its tip at the output pixel's middle and is as wide as the larger of one input and one output pixel.
    """
    resized = length * resize_px // shorter
    first = _half_to_even(resized - crop_px)
    columns = range(crop_px) if columns is None else columns
    found = np.zeros((length, len(columns)), np.int64)
    for place, column in enumerate(columns):
        i = first + column
        half_width = 2 * max(length, resized)
        # only these can be reached: |(2j + 1) O - (2i + 1) L| < 2 max(L, O)
        low = max(0, ((2 * i + 1) * length - half_width) // (2 * resized) - 1)
        high = min(length, ((2 * i + 1) * length + half_width) // (2 * resized) + 2)
        t = {j: max(0, half_width - abs((2 * j + 1) * resized - (2 * i + 1) * length)) for j in range(low, high)}
        s = sum(t.values())
        for j, part in t.items():
            found[j, place] = (2 * part * 2**BITS + s) // (2 * s)
    return found


def _half_to_even(twice: int) -> int:
    return round(twice / 2)
