"""A network as a list of operations, whatever it was read from; what the layers are fused from."""

from __future__ import annotations

__all__ = ["NUM_BYTES", "Operation", "OperationGraph", "Value", "Weight", "values_touched"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

NUM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "float8": 1,
    "int64": 8, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2, "uint64": 8, "bool": 1,
}  # fmt: skip
"""Element type -> bytes of one value."""

KINDS = ("conv", "linear", "pool", "pointwise", "add", "view", "retype", "other")
"""view: moves or drops values and computes nothing (slice, pad, reshape). retype: the same values in another type
(Cast, QuantizeLinear, DequantizeLinear). other: anything that is fused with nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A tensor for one image: how many values of which type."""

    elements: int
    type: str

    @property
    def num_bytes(self) -> int:
        """Of one image."""
        return self.elements * NUM_BYTES[self.type]


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """Constants of a layer; they are read once a pass, whatever the batch. `is_bias`: added, not multiplied."""

    elements: int
    type: str
    is_bias: bool = False

    @property
    def num_bytes(self) -> int:
        """Of all its values."""
        return self.elements * NUM_BYTES[self.type]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One step of a network.

    Attributes:
        kind: One of `KINDS`.
        inputs: Tensors that are no constants, by name. `output`: the tensor it makes.
        value: Of the output, for one image.
        multiply_adds: For one image, by the direct algorithm.
        num_read: Values of the first input that it needs, where that is not all of them (a 1 x 1 convolution of
            stride 2); None stands for all.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    value: Value
    weights: tuple[Weight, ...] = ()
    multiply_adds: int = 0
    num_read: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationGraph:
    """Operations in an order in which they can run.

    Attributes:
        inputs, outputs: The network's own, by name.
        height_px, width_px: Of the images.
    """

    operations: tuple[Operation, ...]
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    height_px: int
    width_px: int


def values_touched(channels: int, kernel: Sequence[int], stride: Sequence[int], output: Sequence[int]) -> int | None:
    """Input values that a convolution needs for one image, where its stride jumps over some; else None, for all.

    Args:
        kernel, stride, output: Along each spatial axis: size of the window, step, number of results.
    """
    if all(k >= s for k, s in zip(kernel, stride, strict=True)):
        return None
    return channels * math.prod(k * n if k < s else s * n for k, s, n in zip(kernel, stride, output, strict=True))
