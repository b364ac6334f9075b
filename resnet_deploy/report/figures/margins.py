"""How sure the reference was, over all images and over those whose answer changed."""

from __future__ import annotations

__all__ = ["margin_chart"]

import numpy as np
from matplotlib.figure import Figure

from resnet_deploy.report.figures.canvas import SERIES_COLOURS, Chart, chart_name, new_canvas
from resnet_deploy.verify.statistics.result import MarginHistogram


def margin_chart(histogram: MarginHistogram, candidate: str) -> Chart | None:
    """Two steps over the reference's margin, logarithmic in height; None where no answer changed."""
    if not any(histogram.num_flipped):
        return None
    bins = zip(histogram.edges, histogram.edges[1:], histogram.num_all, histogram.num_flipped, strict=False)
    return Chart(
        name=chart_name("margins", candidate),
        heading=f"Margins, {candidate}",
        label="Number of images by the gap between the probabilities of the reference's first and second class: all "
        "images, and those whose first class changed. Rounding errors flip images at the left only.",
        columns=("margin from", "to", "all images", "images whose class changed"),
        rows=tuple(bins),
        draw=lambda: _draw(histogram),
    )


def _draw(histogram: MarginHistogram) -> Figure:
    figure = new_canvas(height=3.0)
    axes = figure.add_subplot()
    edges = np.asarray(histogram.edges)
    axes.stairs(histogram.num_all, edges, fill=True, color=SERIES_COLOURS[5], alpha=0.45, label="all images")
    axes.stairs(histogram.num_flipped, edges, fill=True, color=SERIES_COLOURS[1], label="first class changed")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("margin of the reference (gap of probabilities)")
    axes.set_ylabel("images (log)")
    axes.grid(axis="y")
    axes.legend()
    return figure
