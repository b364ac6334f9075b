"""What a sample of images can and can not say about the difference of two networks."""

from __future__ import annotations

__all__ = ["paired_drop_interval"]

import math

_Z95 = 1.959963984540054


def paired_drop_interval(only_reference: int, only_candidate: int, count: int) -> tuple[float, float]:
    """95 % interval of the loss of accuracy between two networks that saw the same images, in points.

    Images on which both are right or both are wrong carry no sign, so the pairs are far sharper than the
    difference of two separate intervals.

    Args:
        only_reference: Images that only the reference has right.
        only_candidate: Images that only the candidate has right.
        count: All images.
    Source: Agresti and Min, Statistics in Medicine 24 (2005) 729-740: Wald's interval after adding 1/2 to each
        of the four cells, which keeps its coverage where few images differ.
    """
    if count < 1 or min(only_reference, only_candidate) < 0 or only_reference + only_candidate > count:
        raise ValueError(f"{only_reference} + {only_candidate} differing images of {count} can not be")
    b, c, n = only_reference + 0.5, only_candidate + 0.5, count + 2.0
    drop = (b - c) / n
    half = _Z95 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return 100 * max(-1.0, drop - half), 100 * min(1.0, drop + half)
