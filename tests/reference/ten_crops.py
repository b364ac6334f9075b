"""Ten crops cut pixel by pixel, and the mean of softmax in plain Python.

Independent of the product: written from Krizhevsky et al. 2012, section 4.1 (four corners and the centre, and their
horizontal reflections), with the shorter side resized as in arXiv:1512.03385, section 3.4.
"""

from __future__ import annotations

__all__ = ["plain_mean_softmax", "plain_ten_crops"]

import math

import numpy as np

from tests.reference.pillow_resize import resize


def plain_ten_crops(image: np.ndarray, *, shorter: int, crop: int) -> list[np.ndarray]:
    """[H, W, 3] uint8 -> ten of [crop, crop, 3] uint8, in no promised order."""
    height, width, _ = image.shape
    if height <= width:
        image = resize(image, height=shorter, width=width * shorter // height)
    else:
        image = resize(image, height=height * shorter // width, width=shorter)
    height, width, _ = image.shape
    tops = {"top": 0, "bottom": height - crop, "middle": round((height - crop) / 2)}
    lefts = {"left": 0, "right": width - crop, "middle": round((width - crop) / 2)}
    found = []
    for place in ("top left", "top right", "bottom left", "bottom right", "middle middle"):
        top, left = tops[place.split()[0]], lefts[place.split()[1]]
        plain = np.zeros((crop, crop, 3), dtype=np.uint8)
        mirrored = np.zeros((crop, crop, 3), dtype=np.uint8)
        for y in range(crop):
            for x in range(crop):
                plain[y, x] = image[top + y, left + x]
                mirrored[y, crop - 1 - x] = image[top + y, left + x]
        found += [plain, mirrored]
    return found


def plain_mean_softmax(views: list[list[float]]) -> list[float]:
    """Mean of the softmax of each row of logits."""
    shares = []
    for row in views:
        powers = [math.exp(x - max(row)) for x in row]
        shares.append([p / sum(powers) for p in powers])
    return [math.fsum(column) / len(views) for column in zip(*shares, strict=True)]
