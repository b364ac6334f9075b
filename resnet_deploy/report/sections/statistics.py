"""How sure the verdicts are: tests, bounds, the images and classes behind a loss."""

from __future__ import annotations

__all__ = ["statistics_section"]

from pathlib import Path
from typing import Any

from resnet_deploy.report.figures.margins import margin_chart
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.verify.statistics.result import PairedStatistics
from resnet_deploy.verify.verdict import Verdict

_MOST_IMAGES = 5
_MOST_CLASSES = 10


def statistics_section(material: Material) -> Section | None:
    """A row for each verdict in every table; None where no verdict has statistics."""
    results = [document.result for network in material.networks for document in network.verdicts]
    found = [(_name(verdict), verdict.statistics) for verdict in results if verdict.statistics is not None]
    if not found:
        return None
    charts = [margin_chart(statistics.flips.histogram, name) for name, statistics in found]
    return Section(
        name="statistics",
        title="Statistics",
        heading="How sure is that?",
        data={
            "rows": [{"name": name, "x": statistics, "needed": _needed(statistics)} for name, statistics in found],
            "level": found[0][1].level,
            "classes": [row for name, statistics in found for row in _classes(name, statistics)],
            "images": [row for name, statistics in found for row in _images(name, statistics)],
            "any_top5": any(statistics.top5 for _, statistics in found),
        },
        charts=tuple(chart for chart in charts if chart is not None),
    )


def _name(verdict: Verdict) -> str:
    return f"{Path(verdict.candidate.file).name} ({verdict.candidate.backend})"


def _needed(statistics: PairedStatistics) -> list[str]:
    """ "8,120 for a power of 80 % if the true drop is 0.05 points (enough)"."""
    texts = []
    for row in statistics.images_needed:
        number = "no number" if row.num_images is None else f"{row.num_images:,}"
        texts.append(
            f"{number} for a power of {row.power:.0%} if the true drop is {row.assumed_drop:.2f} points"
            + (" (these suffice)" if row.suffices else "")
        )
    return texts


def _classes(name: str, statistics: PairedStatistics) -> list[dict[str, Any]]:
    found = statistics.class_regressions
    if found is None:
        return []
    shown = [row for row in found.worst if row.significant] or found.worst[:3]
    return [{"name": name, "x": row, "num_tested": found.num_tested} for row in shown[:_MOST_CLASSES]]


def _images(name: str, statistics: PairedStatistics) -> list[dict[str, Any]]:
    return [{"name": name, "x": image} for image in statistics.flips.suspicious[:_MOST_IMAGES]]
