"""SQNR of every layer in order: what has accumulated, what the layer adds itself, and where it first adds too much."""

from __future__ import annotations

__all__ = ["DrawnLayer", "draw_divergence"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOP_DB = 100.0
_WIDTH_A_LAYER, _LEAST_WIDTH, _MOST_WIDTH = 0.16, 7.0, 24.0
_MOST_NAMES = 60


class DrawnLayer(NamedTuple):
    """Attributes:
    accumulated_db, introduced_db: None where nothing was finite.
    is_divergent: The layer itself is at fault.
    """

    name: str
    accumulated_db: float | None
    introduced_db: float | None
    is_divergent: bool


def draw_divergence(layers: Sequence[DrawnLayer], *, limit_db: float, title: str) -> Figure:
    """Two lines over the layers; equal tensors, whose SQNR has no end, are drawn at 100 dB. Low is bad."""
    width = min(_MOST_WIDTH, max(_LEAST_WIDTH, 1.5 + _WIDTH_A_LAYER * len(layers)))
    figure = new_figure(width=width, height=4.6)
    axes = figure.subplots()
    places = range(len(layers))
    lines = (
        ("accumulated", [layer.accumulated_db for layer in layers], PALETTE[0], "-"),
        ("introduced by the layer", [layer.introduced_db for layer in layers], PALETTE[2], ":"),
    )
    for label, values, colour, style in lines:
        shown = [float("nan") if value is None else min(value, _TOP_DB) for value in values]
        axes.plot(places, shown, style, color=colour, marker=".", ms=5, lw=1.4, label=label)
    axes.axhline(limit_db, color="0.4", lw=1, ls="--", label=f"limit, {limit_db:g} dB")
    _mark_faults(axes, layers)
    step = -(-len(layers) // _MOST_NAMES)
    axes.set_xticks(list(places)[::step], [layer.name for layer in layers[::step]], rotation=90, fontsize=6.5)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylabel("SQNR (dB)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _mark_faults(axes, layers: Sequence[DrawnLayer]) -> None:
    bad = [place for place, layer in enumerate(layers) if layer.is_divergent]
    if not bad:
        return
    heights = [
        0.0 if layers[place].introduced_db is None else min(layers[place].introduced_db, _TOP_DB) for place in bad
    ]
    axes.plot(bad, heights, "o", ms=9, mfc="none", mec=PALETTE[1], mew=1.8, label="at fault")
    axes.axvline(bad[0], color=PALETTE[1], lw=1.2, alpha=0.7)
    side = "right" if bad[0] > len(layers) / 2 else "left"
    axes.annotate(
        f"first: {layers[bad[0]].name} ",
        (bad[0], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if side == "right" else 4, -12),
        textcoords="offset points",
        ha=side,
        color=PALETTE[1],
        fontsize=9,
    )
