"""Training curves in the manner of the paper's Fig. 6: error against iterations, thin dashes train, bold held out."""

from __future__ import annotations

__all__ = ["draw_curves"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_deploy.core.files import atomic_write


def draw_curves(path: Path, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Write a PNG of the errors in `rows`, one row per epoch as in the metrics file.

    The scale ends at 20 %, as in the paper, once the held-out error is below that; the first epochs leave
    the picture rather than flatten the rest.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    looked_at = [row for row in rows if row["val_error_percent"] is not None]
    figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    (line,) = axes.plot(
        [row["step"] for row in rows],
        [row["train_error_percent"] for row in rows],
        "--",
        lw=1,
        label="train (augmented)",
    )
    axes.plot(
        [row["step"] for row in looked_at],
        [row["val_error_percent"] for row in looked_at],
        "-",
        lw=2.5,
        color=line.get_color(),
        label="held out",
    )
    axes.set_ylim(0, 20 if looked_at and looked_at[-1]["val_error_percent"] < 15 else 100)
    axes.set_xlim(left=0)
    axes.set_xlabel("iterations")
    axes.set_ylabel("error (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
