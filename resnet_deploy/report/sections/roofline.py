"""How fast could it be: the roofline's bounds, and the share of them that was reached."""

from __future__ import annotations

__all__ = ["roofline_section"]

from resnet_deploy.report.figures.roofline import roofline_charts
from resnet_deploy.report.sections.section import Material, Section

_MOST_ROWS = 60


def roofline_section(material: Material) -> Section | None:
    """Figures and bounds of each estimate; None without one."""
    documents = material.findings.estimates
    if not documents:
        return None
    charts = [chart for document in documents for chart in roofline_charts(document.result)]
    return Section(
        name="roofline",
        title="Roofline",
        heading="How fast could it be?",
        data={
            "documents": documents,
            "num_rows": sum(len(document.result.networks) for document in documents),
            "most_rows": _MOST_ROWS,
        },
        charts=tuple(charts),
    )
