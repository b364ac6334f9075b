"""What to deploy: the recommendation, the Pareto set, the reasons."""

from __future__ import annotations

__all__ = ["advice_section"]

from resnet_deploy.report.figures.pareto import advice_chart
from resnet_deploy.report.sections.section import Material, Section


def advice_section(material: Material) -> Section | None:
    """A figure and a table for each answer of the advisor; None without one."""
    documents = material.findings.advices
    if not documents:
        return None
    charts = [advice_chart(document.result) for document in documents]
    return Section(
        name="advice",
        title="Advice",
        heading="What should run where?",
        data={
            "items": [
                {"document": d, "chart": chart, "pareto": [d.result.options[place] for place in d.result.pareto]}
                for d, chart in zip(documents, charts, strict=True)
            ]
        },
        charts=tuple(chart for chart in charts if chart is not None),
    )
