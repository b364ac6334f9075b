"""The numbers a quantised tensor is stored in: int8's equal steps, or E4M3's, which grow with the value."""

from __future__ import annotations

__all__ = ["FP8_GRID", "GRIDS", "INT8_GRID", "Grid"]

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.core.specs import Precision
from resnet_deploy.quant.table import TensorScale


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """One stored type; symmetric, its zero point is 0.

    Attributes:
        precision: Of the operations that compute with it; its name is part of the tensors' names.
        dtype: As stored.
        largest: Largest magnitude at scale 1 that is used.
        method: Which range of an activation it takes: a name of `quant.scales.METHODS`; None takes the table's.
        scale: Of an activation, from its row in the calibration table.
    """

    precision: Precision
    dtype: np.dtype
    largest: float
    method: str | None
    scale: Callable[[TensorScale], float]

    def round(self, scaled: np.ndarray) -> np.ndarray:
        """Values / scale as stored: the nearest of the grid, half to even, saturated at `largest`.

        Source: ONNX QuantizeLinear (rounding, `saturate`).
        """
        limited = np.clip(scaled, -self.largest, self.largest)
        return (np.rint(limited) if self.dtype == np.int8 else limited).astype(self.dtype)


def _fp8_scale(tensor: TensorScale) -> float:
    """max|x| / 448, whatever the method chose for int8; 1 where only zeros were seen.

    E4M3 has the same relative step over 15 octaves, so clipping the largest values gains the others nothing.

    Raises:
        CalibrationError: The row is of a TensorRT calibration cache, which does not say how large the values are.
    """
    if not tensor.num_values:
        raise CalibrationError(
            "FP8 needs the largest value of every tensor, these scales are int8's alone and say nothing of it",
            remedy="calibrate the network, or quantise to int8",
        )
    largest = max(abs(tensor.minimum), abs(tensor.maximum))
    return largest / 448.0 if largest > 0 else 1.0


INT8_GRID = Grid(
    precision=Precision.INT8,
    dtype=np.dtype(np.int8),
    largest=127.0,
    method=None,
    scale=lambda tensor: tensor.scale,
)
FP8_GRID = Grid(
    precision=Precision.FP8,
    dtype=np.dtype(ml_dtypes.float8_e4m3fn),
    largest=448.0,
    method="max",
    scale=_fp8_scale,
)
GRIDS = {grid.precision: grid for grid in (INT8_GRID, FP8_GRID)}
"""What `quantize` can write."""
