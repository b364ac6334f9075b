"""Top-1 of every file with its interval."""

from __future__ import annotations

__all__ = ["ScorePoint", "accuracy_chart"]

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from resnet_deploy.report.figures.canvas import OTHER_COLOUR, PRECISION_COLOURS, Chart, new_canvas, short_label


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePoint:
    """Top-1 of one file with its 95 % interval, in percent."""

    label: str
    precision: str
    top1: float
    low: float
    high: float


def accuracy_chart(points: Sequence[ScorePoint]) -> Chart | None:
    """Dots with intervals; the axis is cut, which its label says. None where there is nothing to draw."""
    if not points:
        return None
    return Chart(
        name="accuracy",
        heading="Accuracy before and after conversion",
        label="Top-1 accuracy of every file as a dot, with its 95 % interval as a line.",
        columns=("file", "precision", "top-1, %", "95 % interval from, %", "to, %"),
        rows=tuple((p.label.replace("\n", ", "), p.precision, p.top1, p.low, p.high) for p in points),
        draw=lambda: _draw(points),
    )


def _draw(points: Sequence[ScorePoint]) -> Figure:
    figure = new_canvas(height=0.9 + 0.5 * len(points))
    axes = figure.add_subplot()
    for place, point in enumerate(points):
        colour = PRECISION_COLOURS.get(point.precision, OTHER_COLOUR)
        axes.plot([point.low, point.high], [place, place], color=colour, linewidth=2)
        axes.plot([point.top1], [place], "o", color=colour, markersize=7)
        axes.annotate(f"{point.top1:.2f}", (point.top1, place), (0, 7), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(points)), ["\n".join(map(short_label, point.label.splitlines())) for point in points])
    axes.set_ylim(len(points) - 0.5, -0.7)
    axes.set_xlabel("top-1, % (95 % interval; the axis does not start at zero)")
    axes.grid(axis="x")
    return figure
