"""Noise of every layer beside what it costs: a long bar of noise over a short one of cost is a layer to spare."""

from __future__ import annotations

__all__ = ["draw_sensitivity"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_ROWS = 40
_ROW_HEIGHT = 0.26


def draw_sensitivity(rows: Sequence[tuple[str, float, float]], *, title: str) -> Figure:
    """Horizontal bars, the noisiest on top; beyond 40 rows the quietest are left out, and the title says so.

    Args:
        rows: Name, share of the noise in percent, share of the multiply-adds in percent.
    """
    shown = sorted(rows, key=lambda row: -row[1])[:_MOST_ROWS]
    figure = new_figure(width=7.5, height=1.2 + _ROW_HEIGHT * len(shown))
    axes = figure.subplots()
    places = range(len(shown))
    axes.barh(
        [p - 0.2 for p in places], [row[1] for row in shown], 0.4, color=PALETTE[1], label="noise on the decision"
    )
    axes.barh([p + 0.2 for p in places], [row[2] for row in shown], 0.4, color=PALETTE[0], label="multiply-adds")
    axes.set_yticks(list(places), [row[0] for row in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("share (%)")
    axes.set_title(title if len(shown) == len(rows) else f"{title}, the noisiest {len(shown)} of {len(rows)}")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)
    return figure
