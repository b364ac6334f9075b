"""Adaptive rounding: weights go up or down so that the errors of one output cancel on the inputs that really come.

Rounding to nearest takes each weight alone. But a convolution's inputs are correlated (neighbouring pixels, channels
that answer together), so an error of one weight can be made up for by its neighbours. For an output channel with
weights w, inputs x and H = E[x x^T], the expected squared error of the output is (q - w)^T H (q - w): the weights
are rounded one after the other, and each one's error is spread over those still to be rounded, in the way that
keeps this form smallest.
"""

from __future__ import annotations

__all__ = ["input_moments", "round_with_compensation"]

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_QMAX = 127
_DAMPING = 0.01  # of the mean diagonal, added to it: the moments are those of a sample
_POSITIONS = 64  # of an image's output positions, that its moments are taken at
_CHUNK = 8
_BLOCK = 128


class Moments(NamedTuple):
    """Of the inputs of one output value: mean [n] and E[x x^T] [n, n], float64."""

    mean: Tensor
    second: Tensor

    @property
    def covariance(self) -> Tensor:
        return self.second - torch.outer(self.mean, self.mean)


def input_moments(values: Tensor, op_type: str, attributes: dict[str, Any], kernel: tuple[int, ...]) -> Moments:
    """What a Conv or Gemm multiplies its weights with, over images and (a fixed sample of) positions.

    Args:
        values: [N, C, H, W] of a Conv, [N, C] of a Gemm, float32.
        attributes: The node's.
        kernel: (R, S) of a Conv.
    """
    if op_type == "Gemm":
        columns = values.double().t()
        return Moments(columns.mean(1), columns @ columns.t() / columns.shape[1])
    size = values.shape[1] * kernel[0] * kernel[1]
    total, squares, count = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64), 0
    generator = torch.Generator().manual_seed(0)
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    for part in values.split(_CHUNK):
        columns = F.unfold(
            F.pad(part, (left, right, top, bottom)),
            kernel,
            dilation=attributes.get("dilations", [1, 1]),
            stride=attributes.get("strides", [1, 1]),
        )
        if columns.shape[2] > _POSITIONS:
            columns = columns[:, :, torch.randperm(columns.shape[2], generator=generator)[:_POSITIONS]]
        columns = columns.permute(1, 0, 2).reshape(size, -1).double()
        total += columns.sum(1)
        squares += columns @ columns.t()
        count += columns.shape[1]
    return Moments(total / count, squares / count)


def round_with_compensation(weight: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Whole numbers q in [-127, 127] with a small (q s - w)^T H (q s - w) for every row.

    Never worse, row by row, than rounding to nearest, which is kept where it is better.

    Args:
        weight: [K, n] float32.
        second: H [n, n] float64, positive semidefinite.
        scale: [K] float32, positive.
    Returns:
        [K, n] float32.
    Source: Frantar et al., arXiv:2210.17323 (GPTQ, section 3), after Hassibi and Stork's optimal brain surgeon;
        columns are taken in the order of decreasing H_ii.
    """
    steps = weight.double() / scale.double()[:, None]
    nearest = steps.round().clamp(-_QMAX, _QMAX)
    diagonal = torch.diagonal(second)
    if not bool((diagonal > 0).any()):
        return nearest.float()
    order = torch.argsort(diagonal, descending=True, stable=True)
    damped = second[order][:, order] + _DAMPING * diagonal.mean() * torch.eye(len(second), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    compensated = torch.empty_like(steps)
    compensated[:, order] = _rounded_in_order(steps[:, order].clone(), upper)
    errors = [_output_errors(candidate - steps, second) for candidate in (compensated, nearest)]
    return torch.where((errors[0] < errors[1])[:, None], compensated, nearest).float()


def _rounded_in_order(steps: Tensor, upper: Tensor) -> Tensor:
    """Column by column; what a block of columns leaves over is handed on at its end, as one product."""
    size = steps.shape[1]
    result = torch.empty_like(steps)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = torch.empty(len(steps), stop - start, dtype=steps.dtype)
        for column in range(start, stop):
            current = steps[:, column]
            result[:, column] = current.round().clamp(-_QMAX, _QMAX)
            error = (current - result[:, column]) / upper[column, column]
            steps[:, column:stop] -= error[:, None] * upper[column, column:stop]
            errors[:, column - start] = error
        steps[:, stop:] -= errors @ upper[start:stop, stop:]
    return result


def _output_errors(difference: Tensor, second: Tensor) -> Tensor:
    return ((difference @ second) * difference).sum(1)
