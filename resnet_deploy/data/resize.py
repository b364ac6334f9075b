"""The resize of `core.specs.Preprocess`: a triangle filter in exact integers, see docs/reference/preprocess.md.

Pillow computes the same weights in double precision and rounds them to the same 22 bits. Where that provably gives
the same integers it does the work, otherwise numpy does.

The proof. Output i of `resized` = O has, for input j of `length` = L, the weight t * 2^22 / s rounded, t and s integers.
If that is no tie, it is at least 1 / (2 s) away from one. With u = 2^-53, M = max(L, O), m = min(L, O), f = max(L / O, 1):

- The double centre is off by at most 2 u L, the argument of the triangle by u (2 m + 7), its value by u (2 m + 8); an
  input that Pillow leaves out for that has t < 1, so t = 0.
- The values of n inputs sum up to w, f / 2 <= w <= 5 f / 4 and n <= 4 w (tests/data/test_resize.py), so that a quotient
  is off by at most u (5 (2 m + 8) 2 / f + 6), and what is rounded, with 1/2 added, by 2^-31 (20 m / f + 88).
- s = 2 M w <= 5 M f / 2 is below 2^23 if M f <= 2^20. Then there are no ties: those need a multiple of 2^23.
- 2^-31 (20 m / f + 88) < 1 / (5 M f) if 20 L O + 88 M f < 2^31 / 5, as m M = L O. It holds for L O <= 2^24, M f <= 2^20.
"""

from __future__ import annotations

__all__ = ["WEIGHT_BITS", "axis_weights", "pillow_is_exact", "resize_window"]

import numpy as np
from PIL import Image

WEIGHT_BITS = 22
_HALF = 1 << (WEIGHT_BITS - 1)
_MAX_PRODUCT, _MAX_REACH = 1 << 24, 1 << 20  # of L O and M f above


def pillow_is_exact(length: int, resized: int) -> bool:
    """Whether Pillow's weights for `length` -> `resized` pixels are those of `axis_weights`, by the proof above."""
    return length * resized <= _MAX_PRODUCT and max(length, resized) ** 2 <= _MAX_REACH * resized


def axis_weights(length: int, resized: int, window: range) -> tuple[np.ndarray, np.ndarray]:
    """First input and weights of outputs `window` of resizing `length` to `resized` pixels.

    Returns:
        int64 [n] and int64 [n, taps]: what is beyond an output's own inputs has weight 0 and may lie beyond `length`.
    """
    centre = (2 * np.arange(window.start, window.stop, dtype=np.int64) + 1) * length
    half_width = 2 * max(length, resized)
    first = np.maximum(0, (centre - half_width - resized) // (2 * resized) + 1)
    last = np.minimum(length - 1, -(-(centre + half_width - resized) // (2 * resized)) - 1)
    inputs = first[:, None] + np.arange((last - first).max() + 1)
    numerator = np.maximum(0, half_width - np.abs((2 * inputs + 1) * resized - centre[:, None]))
    numerator[inputs >= length] = 0
    total = numerator.sum(axis=1, keepdims=True)
    return first, ((numerator << (WEIGHT_BITS + 1)) + total) // (2 * total)  # a half is rounded up


def resize_window(image: np.ndarray, size: tuple[int, int], rows: range, columns: range) -> np.ndarray:
    """The pixels in `rows` and `columns` of [H, W, 3] uint8 resized to `size` (height, width)."""
    height, width = image.shape[:2]
    if pillow_is_exact(width, size[1]) and pillow_is_exact(height, size[0]):
        return _pillow_window(image, size, rows, columns)
    first, weights = axis_weights(height, size[0], rows)
    top, bottom = first.min(), min(height, first.max() + weights.shape[1])
    between = _pass(image[top:bottom].swapaxes(0, 1), *axis_weights(width, size[1], columns))
    return _pass(between.swapaxes(0, 1), first - top, weights)


def _pillow_window(image: np.ndarray, size: tuple[int, int], rows: range, columns: range) -> np.ndarray:
    """Pillow 13 chooses the order of its two passes by the sizes, earlier releases do not; asking for one pass
    at a time fixes it to horizontal first, whatever the release."""
    height = image.shape[0]
    picture = Image.fromarray(image).resize((size[1], height), Image.Resampling.BILINEAR)
    if len(columns) < size[1]:
        picture = picture.crop((columns.start, 0, columns.stop, height))
    picture = picture.resize((len(columns), size[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture)[rows.start : rows.stop]


def _pass(image: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Along axis 0 of [L, ..., 3] uint8."""
    result = np.empty((len(first), *image.shape[1:]), np.uint8)
    for output, (begin, weight) in enumerate(zip(first, weights, strict=True)):
        taps = image[begin : begin + len(weight)].astype(np.int64)
        result[output] = (np.tensordot(weight[: len(taps)], taps, axes=1) + _HALF) >> WEIGHT_BITS
    return result
