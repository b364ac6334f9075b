"""The weights of the pixel contract's resize, computed in an ONNX graph from the sizes of the image it is given.

One axis of an image is `L` px long, its resized axis `O` px, of which a crop of `C` px is wanted; output `i` reads input
`j` with the triangle filter of half-width max(L, O) / O, as a 22-bit integer:

    t_ij = max(0, 2 max(L, O) - |(2j + 1) O - (2i + 1) L|)     s_i = sum over j of t_ij
    k_ij = floor(t_ij * 2^22 / s_i + 1/2)

Nothing is 64 bits wide and no quotient is taken on trust: int64 overflows silently in some runtimes, and an integer
division that runs in float is one too high or too low. So the 22 bits come in four digits, each corrected by
its remainder. `k` is then cut in two, `k = hi * B + lo` with a power of two `B`, so that sums of 255 hi and of 255 lo stay
below 2^24, where float32 holds every integer: a MatMul is exact in any order of summation, also one whose operands are
rounded to 11 bits (TF32, FP16), as hi, lo and pixels are no longer than that. Why B may not stay 2^11: above about 32 taps
(an axis 16 times as long as its result) the sum of lo passes 2^24.
"""

from __future__ import annotations

__all__ = ["WEIGHT_BITS", "AxisWeights", "add_axis_weights", "is_exact_for"]

from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.graph.node_writer import NodeWriter

_DIGITS = (8, 5, 5, 4)
WEIGHT_BITS = sum(_DIGITS)
_SPLIT_BITS = 11
_FIRST_COARSE = 8  # up to so many times as long, B is 2^11: 17 taps of 2047 * 255 are below 2^24


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisWeights:
    """Names of tensors in a graph.

    Attributes:
        high, low: float32 [L, C] (or [C, L] where the output comes first), whole numbers up to 2^11.
        step: float32 scalar, B.
    """

    high: str
    low: str
    step: str


def add_axis_weights(
    ops: NodeWriter, name: str, *, length: str, shorter: str, resize_px: int, crop_px: int, output_first: bool
) -> AxisWeights:
    """Append the weights of one axis.

    Args:
        name: Of the axis; begins the names of what is appended.
        length, shorter: int32 scalars: L, and the shorter side of the image; at least 1.
        output_first: [C, L] in place of [L, C].
    """
    ops = ops.within(name)
    resized = ops.quotient(ops.multiply(length, ops.int32(resize_px)), shorter)
    in_axis, out_axis = (1, 0) if output_first else (0, 1)
    offset = ops.half_to_even(ops.subtract(resized, ops.int32(crop_px)))
    # positions from the middles of both axes: (2j + 1 - L) O - (2i + 1 - O) L is the difference above, half as large
    ins = ops.odd(ops.range(length), length)
    outs = ops.odd(ops.add(ops.int32(np.arange(crop_px)), offset), resized)
    difference = ops.subtract(
        ops.unsqueeze(ops.multiply(ins, resized), out_axis), ops.unsqueeze(ops.multiply(outs, length), in_axis)
    )
    reach = ops.multiply(ops.maximum(length, resized), ops.int32(2))
    triangle = ops.maximum(ops.subtract(reach, ops.node("Abs", difference)), ops.int32(0))
    total = ops.maximum(ops.sum(triangle, axis=in_axis), ops.int32(1))
    weight = ops.cast(_fixed_point(ops, triangle, total), "float32")
    step = _step(ops, length, resized)
    high = ops.node("Floor", ops.node("Div", weight, step))
    return AxisWeights(high=high, low=ops.subtract(weight, ops.multiply(high, step)), step=step)


def is_exact_for(height: int, width: int, spec: Preprocess) -> bool:
    """Whether an image of that size gets the contract's bytes; not far beyond, int32 overflows and they are wrong.

    Sides up to 65,535 px and up to 64 times as long as the other are in it, for `resize_shorter_px` from 128 to 480.
    """
    if min(height, width) < 1:
        return False
    if spec.resize_shorter_px is None:
        return True
    for length, crop in ((height, spec.height_px), (width, spec.width_px)):
        resized = length * spec.resize_shorter_px // min(height, width)
        longest = max(length, resized)
        largest = (
            length * spec.resize_shorter_px,
            (length - 1) * resized + (crop + 1) * length,
            2 * longest << _DIGITS[0],
            # s: the area of a triangle 2 longest high, and half a step where its tip lies between two pixels
            (2 * longest * longest // resized + resized) << max(_DIGITS[1:]),
        )
        if max(largest) >= 2**31 or length > _FIRST_COARSE * resized << _SPLIT_BITS:
            return False
    return True


def _fixed_point(ops: NodeWriter, part: str, whole: str) -> str:
    """floor(part * 2^22 / whole + 1/2) of int32 with 0 <= part <= whole, without a product beyond int32."""
    quotient, rest = ops.int32(0), part
    for bits in _DIGITS:
        shift = ops.int32(1 << bits)
        digit, rest = ops.divide_exactly(ops.multiply(rest, shift), whole)
        quotient = ops.add(ops.multiply(quotient, shift), digit)
    rounds_up = ops.node("GreaterOrEqual", ops.multiply(rest, ops.int32(2)), whole)
    return ops.add(quotient, ops.cast(rounds_up, "int32"))


def _step(ops: NodeWriter, length: str, resized: str) -> str:
    """B: 2^11, halved for every doubling of L / O beyond 8."""
    ratio = ops.quotient(ops.subtract(length, ops.int32(1)), resized)
    bounds = ops.int32(_FIRST_COARSE << np.arange(_SPLIT_BITS))
    halvings = ops.sum(ops.cast(ops.node("GreaterOrEqual", ratio, bounds), "int32"), axis=0, keep=False)
    return ops.node("Gather", ops.float32(2.0 ** np.arange(_SPLIT_BITS, -1, -1)), halvings)
