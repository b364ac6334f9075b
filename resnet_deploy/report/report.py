"""One HTML file that says what was built, whether it can be trusted, how fast it is, and what was not run."""

from __future__ import annotations

__all__ = ["ReportOptions", "ReportResult", "write_report"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from resnet_deploy import __version__
from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.files import atomic_write, check_writable
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.report.answer import answer_of
from resnet_deploy.report.chain import find_chain
from resnet_deploy.report.figures.canvas import draw_chart, write_picture
from resnet_deploy.report.gather import gather
from resnet_deploy.report.networks import find_networks
from resnet_deploy.report.page import Head, render_page
from resnet_deploy.report.sections.advice import advice_section
from resnet_deploy.report.sections.attribution import attribution_section
from resnet_deploy.report.sections.engines import engine_section
from resnet_deploy.report.sections.environment import environment_section
from resnet_deploy.report.sections.faults import fault_section
from resnet_deploy.report.sections.files import provenance_section
from resnet_deploy.report.sections.latency import latency_section
from resnet_deploy.report.sections.networks import network_section
from resnet_deploy.report.sections.roofline import roofline_section
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.report.sections.statistics import statistics_section
from resnet_deploy.report.sections.training import training_section
from resnet_deploy.report.sections.verdicts import verdict_section
from resnet_deploy.report.summary import missing_parts, summarize_findings
from resnet_deploy.report.tiles import tiles_of

_SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    verdict_section,
    statistics_section,
    attribution_section,
    fault_section,
    latency_section,
    roofline_section,
    advice_section,
    network_section,
    training_section,
    engine_section,
    provenance_section,
    environment_section,
)
"""In the order of the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """What to report on.

    Attributes:
        folder: Where the stages wrote; subfolders count.
        out: None puts report.html into the folder.
        figures: Folder for every figure as PNG, SVG and CSV; None writes none.
    """

    folder: Path
    out: Path | None = None
    title: str = "resnet-deploy report"
    figures: Path | None = None

    @property
    def file(self) -> Path:
        """Where the report goes."""
        return self.out or Path(self.folder) / "report.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """A written report.

    Attributes:
        answer: Whether the network can be shipped, and why.
        summary: The sentences it begins with.
        sections: Titles of those it has.
        figures: Files that were written beside it.
        missing: What it has no section for, one sentence each.
        unreadable: Files that were left out, with the reason.
        num_broken_links: Of the chain of files.
    """

    file: Path
    answer: str
    summary: str
    sections: tuple[str, ...]
    num_verdicts: int
    num_failed_verdicts: int
    figures: tuple[Path, ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    num_broken_links: int


def write_report(options: ReportOptions, progress: Progress = NO_PROGRESS) -> ReportResult:
    """Gather what a folder holds and write the report; what is not there is left out and said.

    Raises:
        ArtifactError: There is no such folder.
    """
    progress.start(f"report on {options.folder}", 3)
    findings = gather(options.folder)
    check_writable(options.file)
    networks, chain = find_networks(findings), find_chain(findings.entries)
    progress.advance()
    material = Material(findings=findings, networks=networks, chain=chain)
    sections = _with_unique_charts([s for make in _SECTIONS if (s := make(material)) is not None])
    head = Head(
        title=options.title,
        created=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        answer=answer_of(networks, chain),
        summary=summarize_findings(networks),
        tiles=tiles_of(networks),
    )
    missing = missing_parts(findings)
    pictures = [draw_chart(chart) for section in sections for chart in section.charts]
    page = render_page(head, sections, pictures, missing=missing, unreadable=findings.unreadable)
    progress.advance()
    with atomic_write(options.file) as partial:
        partial.write_text(page, encoding="utf-8")
    write_manifest(
        options.file,
        kind="report",
        stage="report",
        inputs={entry.name: (entry.name, entry.manifest.sha256) for entry in findings.entries},
        options={"title": options.title},
        packages=("jinja2", "matplotlib"),
    )
    figures = (
        [file for picture in pictures for file in write_picture(picture, options.figures)] if options.figures else []
    )
    progress.advance()
    verdicts = [document.result for network in networks for document in network.verdicts]
    return ReportResult(
        file=options.file,
        answer=f"{head.answer.text}. {head.answer.why}",
        summary=" ".join(line.text for line in head.summary),
        sections=tuple(section.title for section in sections),
        num_verdicts=len(verdicts),
        num_failed_verdicts=sum(not verdict.passed for verdict in verdicts),
        figures=tuple(figures),
        missing=missing,
        unreadable=findings.unreadable,
        num_broken_links=sum(node.num_faults for node in chain),
    )


def _with_unique_charts(sections: Sequence[Section]) -> list[Section]:
    """Two networks may have names that make one file name."""
    seen: dict[str, int] = {}
    result = []
    for section in sections:
        charts = []
        for chart in section.charts:
            seen[chart.name] = seen.get(chart.name, 0) + 1
            number = seen[chart.name]
            charts.append(chart if number == 1 else replace(chart, name=f"{chart.name}-{number}"))
        result.append(replace(section, charts=tuple(charts)))
    return result
