"""Figures as PNG files: one size of letter, one palette, no window, written whole or not at all.

matplotlib is imported when a figure is made, so that whoever imports this module for later does not wait for it.
"""

from __future__ import annotations

__all__ = ["PALETTE", "new_figure", "save_png"]

from pathlib import Path
from typing import TYPE_CHECKING

from resnet_deploy.core.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's eight colours, which colour-blind readers can tell apart."""

_DPI = 120


def new_figure(*, width: float, height: float) -> Figure:
    """An empty figure of that size in inches (at 120 dots each), whatever backend the process has chosen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write `figure`; the same figure gives the same bytes, so a picture in a repository changes only for a reason."""
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
