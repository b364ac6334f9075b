"""The roofline of every GPU of an estimate, with its layers."""

from __future__ import annotations

__all__ = ["roofline_charts"]

from functools import partial

from matplotlib.figure import Figure

from resnet_deploy.bench.roofline.estimate import Estimate
from resnet_deploy.draw.roofline import RooflinePanel, draw_rooflines
from resnet_deploy.report.figures.canvas import Chart, chart_name
from resnet_deploy.report.roofline_panels import roofline_panels


def roofline_charts(estimate: Estimate) -> list[Chart]:
    """One for each GPU whose layers the estimate holds; empty where it was made without layers."""
    return [_chart(panel) for panel in roofline_panels(estimate)]


def _chart(panel: RooflinePanel) -> Chart:
    rows = [
        (dot.group, dot.roof, dot.intensity, dot.tera_operations, None if dot.is_measured else 100 * dot.share)
        for dot in panel.dots
    ]
    return Chart(
        name=chart_name("roofline", panel.title),
        heading=f"Roofline of {panel.title}",
        label="Operations a second against operations a byte, both logarithmic, a row for each precision. Lines: what "
        "the GPU can do at most; dots: layers by stage, as large as their share of the time; crosses: measured networks.",
        columns=("stage", "precision", "operations a byte", "1e12 operations a second", "share of the time, %"),
        rows=tuple(rows),
        draw=partial(_draw, panel),
    )


def _draw(panel: RooflinePanel) -> Figure:
    return draw_rooflines([panel], title="")
