"""Figures as PNG or SVG files: one size of letter, one palette, no window, written whole or not at all.

matplotlib is imported when a figure is made, so that whoever imports this module for later does not wait for it.
"""

from __future__ import annotations

__all__ = ["PALETTE", "new_figure", "save_picture", "save_png"]

from pathlib import Path
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ConfigError
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


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` in the format that the name asks for; the same figure gives the same bytes.

    Raises:
        ConfigError: A name that ends in neither .png nor .svg.
    """
    import matplotlib

    if Path(path).suffix == ".png":
        return save_png(figure, path)
    if Path(path).suffix != ".svg":
        raise ConfigError(f"{path}: pictures are written as .png or .svg", remedy="choose one of these endings")
    # names inside an SVG are random and its date is today's, unless told otherwise
    with matplotlib.rc_context({"svg.hashsalt": "resnet-deploy"}), atomic_write(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
    return None
