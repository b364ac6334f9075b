"""What the loss of accuracy is made of."""

from __future__ import annotations

__all__ = ["attribution_section"]

from resnet_deploy.report.figures.waterfall import waterfall_chart
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.verify.attribution.result import Attribution, PixelAlternative


def attribution_section(material: Material) -> Section | None:
    """A staircase and a table for each attribution; None without one."""
    documents = material.findings.attributions
    if not documents:
        return None
    return Section(
        name="attribution",
        title="Attribution",
        heading="What is the loss made of?",
        data={
            "items": [
                {"document": d, "mistakes": _mistakes(d.result), "harmless": _harmless(d.result)} for d in documents
            ]
        },
        charts=tuple(waterfall_chart(document.result) for document in documents),
    )


def _mistakes(attribution: Attribution) -> list[PixelAlternative]:
    """Those that reach the network, the most expensive first."""
    changing = [alternative for alternative in attribution.pixel_alternatives if alternative.num_changed]
    return sorted(changing, key=lambda alternative: -alternative.drop)


def _harmless(attribution: Attribution) -> list[str]:
    return [a.mistake for a in attribution.pixel_alternatives if not a.num_changed]
