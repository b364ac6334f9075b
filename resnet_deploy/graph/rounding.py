"""Rounding as a file stores it, written so that a gradient passes: scales, weights and biases of an INT8 graph."""

from __future__ import annotations

__all__ = ["STORED_TYPES", "as_stored", "channel_units", "master_weight", "stored_scale", "weight_scale"]

import torch
from onnx import TensorProto
from torch import Tensor

_QMAX = 127
STORED_TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
}
"""Types in which a graph may hold its floats."""

_SMALLEST_SCALE = {torch.float32: 2.0**-126, torch.float16: 2.0**-24, torch.bfloat16: 2.0**-126}


def as_stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """`values`, float32, rounded to what `dtype` represents; the gradient passes as if nothing were rounded."""
    return values if dtype == torch.float32 else values + (values.to(dtype).float() - values).detach()


def stored_scale(scale: Tensor, dtype: torch.dtype, *, up: bool = False) -> Tensor:
    """Positive scales, float32, rounded to the nearest (or next larger) value of `dtype`; no gradient.

    A smallest value (of FP16 the smallest that it represents) stands for all below it, the largest for all above.
    """
    smallest = _SMALLEST_SCALE[dtype]
    if dtype == torch.float32:
        return scale.detach().clamp(min=smallest)
    stored = scale.detach().to(dtype)
    if up:
        next_larger = (stored.view(torch.int16) + 1).view(dtype)  # holds for every positive number of 16 bits
        stored = torch.where(stored.float() < scale, next_larger, stored)
    return stored.float().clamp(min=smallest, max=torch.finfo(dtype).max)


def weight_scale(weight: Tensor, axis: int, dtype: torch.dtype, *, ratio: Tensor | None = None) -> Tensor:
    """Scale of each slice of a weight along `axis`: max|w| / 127, rounded up so that the largest is not clipped.

    Args:
        weight: Any shape, float32.
        ratio: [K] by how much each scale differs from that rule; None, or 1 for a slice, for not at all. A scale
            off the rule is rounded to the nearest.
    Returns:
        [K] float32, values of `dtype`; 1 for a slice that is all zero. No gradient.
    """
    amax = weight.detach().transpose(0, axis).flatten(1).abs().amax(1)
    scale = stored_scale(amax / _QMAX, dtype, up=True)
    if ratio is not None:
        scale = torch.where(ratio == 1, scale, stored_scale(amax / _QMAX * ratio, dtype))
    return torch.where(amax > 0, scale, 1.0)


def master_weight(weight: Tensor, values: Tensor, scale: Tensor) -> Tensor:
    """The float weight that training starts from: rounds to exactly the int8 `values`, and is `weight` where that does.

    Where refinement rounded to the other neighbour, the weight moves just across the edge between the two. Where the
    weight was clipped, or the network was changed before it was rounded (equalised, say), nothing of `weight` is left.

    Args:
        weight: Float32 weight before rounding.
        values: Same shape, whole numbers.
        scale: Broadcasts to that shape.
    """
    steps = weight / scale
    across = values + (steps - values).sign() * 0.49
    moved = torch.where((steps - values).abs() < 1, across, values)
    return torch.where(steps.round() == values, weight, moved * scale)


def channel_units(before: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """By which powers of two the channels of a weight were scaled before it was rounded, as by equalisation.

    A step of descent moves a weight that was divided by 60 (and reads values 60 times as large) 3600 times too far.
    Trained in the units it had before, it moves as it would have.

    Args:
        before, now: [K, C, ...] float32 of the same network.
    Returns:
        [K] and [C], now ~ outer product * before; 1 for channels that were not scaled, or are zero.
    """
    first, second = (weight.flatten(2).norm(dim=2) if weight.dim() > 2 else weight.abs() for weight in (before, now))
    logarithms = torch.where((first > 0) & (second > 0), (second / first).log2(), torch.nan)
    columns = logarithms.nanmedian(dim=0).values.nan_to_num(nan=0.0)
    rows = (logarithms - columns).nanmedian(dim=1).values.nan_to_num(nan=0.0)
    return rows.round().exp2(), columns.round().exp2()  # powers of two: multiplying by them rounds nothing
