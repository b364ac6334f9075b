"""Training curves in the manner of the paper's Fig. 6: error against iterations, thin dashes train, bold held out."""

from __future__ import annotations

__all__ = ["draw_curves"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_deploy.draw.error_curves import ErrorCurve, draw_error_curves
from resnet_deploy.draw.figure import save_png


def draw_curves(path: Path, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Write a PNG of the errors in `rows`, one row per epoch as in the metrics file."""
    curve = ErrorCurve(
        name="",
        steps=[row["step"] for row in rows],
        train_error=[row["train_error_percent"] for row in rows],
        test_error=[row["val_error_percent"] for row in rows],
    )
    save_png(draw_error_curves({title: [curve]}), path)
