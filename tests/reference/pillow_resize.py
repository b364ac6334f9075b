"""A slow, plain antialiased bilinear resize in 22-bit fixed point, horizontal pass first.

Independent of the product: written from the arithmetic of Pillow's src/libImaging/Resample.c, in integers
and loops.
"""

from __future__ import annotations

import math

import numpy as np

_BITS = 22


def resize(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """[H, W, C] uint8 -> [height, width, C] uint8."""
    image = _pass(image, width)
    return _pass(image.transpose(1, 0, 2), height).transpose(1, 0, 2)


def _pass(image: np.ndarray, size: int) -> np.ndarray:
    """Resize axis 1 of [H, W, C] to `size`."""
    old = image.shape[1]
    if old == size:
        return image
    scale = old / size
    support = max(scale, 1.0)
    result = np.empty((image.shape[0], size, image.shape[2]), dtype=np.uint8)
    for i in range(size):
        center = (i + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), old)
        weights = [max(0.0, 1.0 - abs((j - center + 0.5) / support)) for j in range(first, last)]
        total = sum(weights)
        fixed = np.array([math.floor(0.5 + w / total * (1 << _BITS)) for w in weights], dtype=np.int64)
        sums = np.tensordot(image[:, first:last].astype(np.int64), fixed, axes=(1, 0))
        result[:, i] = np.clip((sums + (1 << (_BITS - 1))) >> _BITS, 0, 255)
    return result
