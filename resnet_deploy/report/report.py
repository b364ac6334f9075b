"""One HTML file that says what was built, whether it can be trusted, how fast it is, and what was not run."""

from __future__ import annotations

__all__ = ["ReportOptions", "ReportResult", "write_report"]

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment as TemplateEnvironment
from jinja2 import StrictUndefined
from markupsafe import Markup

from resnet_deploy import __version__
from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.metrics import wilson_interval
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.report.gather import Entry, Findings, gather
from resnet_deploy.report.networks import Network, find_networks, precisions_of
from resnet_deploy.report.plots import ScorePoint, accuracy_plot, curve_plot, latency_plots, size_plot, three_figures
from resnet_deploy.report.summary import SummaryLine, missing_parts, not_run, summarize_findings

_MIB = 2**20
_SHORT_HASH = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOptions:
    """What to report on.

    Attributes:
        folder: Where the stages wrote; subfolders count.
        out: None puts report.html into the folder.
    """

    folder: Path
    out: Path | None = None
    title: str = "resnet-deploy report"

    @property
    def file(self) -> Path:
        """Where the report goes."""
        return self.out or Path(self.folder) / "report.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """A written report.

    Attributes:
        summary: The sentences it begins with.
        missing: What it has no section for, one sentence each.
    """

    file: Path
    summary: str
    num_verdicts: int
    num_failed_verdicts: int
    missing: tuple[str, ...]


def write_report(options: ReportOptions, progress: Progress = NO_PROGRESS) -> ReportResult:
    """Gather what a folder holds and write the report; what is not there is left out and said.

    Raises:
        ArtifactError: There is no such folder.
    """
    progress.start(f"report on {options.folder}", 2)
    findings = gather(options.folder)
    networks = find_networks(findings)
    progress.advance()
    summary, missing = summarize_findings(networks), missing_parts(findings)
    verdicts = [verdict for network in networks for verdict in network.verdicts]
    with atomic_write(options.file) as partial:
        partial.write_text(_page(options, findings, networks, summary, missing), encoding="utf-8")
    write_manifest(
        options.file,
        kind="report",
        stage="report",
        inputs={entry.name: (entry.name, entry.manifest.sha256) for entry in findings.entries},
        options={"title": options.title},
        packages=("jinja2", "matplotlib"),
    )
    progress.advance()
    return ReportResult(
        file=options.file,
        summary=" ".join(line.text for line in summary),
        num_verdicts=len(verdicts),
        num_failed_verdicts=sum(not verdict["passed"] for verdict in verdicts),
        missing=missing,
    )


def _page(
    options: ReportOptions,
    findings: Findings,
    networks: Sequence[Network],
    summary: Sequence[SummaryLine],
    missing: Sequence[str],
) -> str:
    verdicts = [verdict for network in networks for verdict in network.verdicts]
    timed = [row for network in networks for row in network.rows if row.timing is not None]
    batches = sorted({row.batch for row in timed})
    entries = _in_order(findings.entries, networks)
    return _template().render(
        title=options.title,
        css=Markup(_text("report.css")),
        created=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        summary=summary,
        networks=networks,
        precisions=[str(precision) for precision in precisions_of(networks)],
        verdicts=verdicts,
        check_names=list(dict.fromkeys(check["name"] for verdict in verdicts for check in verdict["checks"])),
        accuracy_svg=Markup(accuracy_plot(_score_points(verdicts))),
        curve_svg=Markup(curve_plot(findings.curves)),
        size_svg=Markup(size_plot(networks)),
        latency_svgs=[(head, Markup(svg)) for b in batches for head, svg in latency_plots(networks, batch=b)],
        timed_rows=timed,
        not_run=not_run(networks),
        engines=[entry for entry in entries if entry.manifest.kind == "engine"],
        entries=entries,
        made_from={entry.name: _made_from(entry) for entry in entries},
        environments=_environments(findings),
        versions=_versions(entries),
        missing=missing,
        unreadable=findings.unreadable,
    )


def _template():
    environment = TemplateEnvironment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: "-" if value is None else f"{value:,}"
    environment.filters["number"] = lambda value, digits=2: "-" if value is None else f"{value:.{digits}f}"
    environment.filters["signed"] = lambda value, digits=2: "-" if value is None else f"{value:+.{digits}f}"
    environment.filters["short"] = lambda text: text[:_SHORT_HASH]
    environment.filters["mib"] = lambda size: three_figures(size / _MIB)
    environment.filters["figures3"] = three_figures
    environment.filters["millions"] = _millions
    environment.filters["on_gpu"] = lambda network: network.fastest(on_gpu=True)
    environment.filters["basename"] = lambda path: Path(path).name
    environment.filters["measured"] = _measured
    environment.filters["agreement"] = _agreement
    return environment.from_string(_text("report.html.j2"))


def _text(name: str) -> str:
    return resources.files("resnet_deploy.report").joinpath(name).read_text(encoding="utf-8")


def _millions(value: int | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1e9:.2f} G" if value >= 1e9 else f"{value / 1e6:.2f} M"


def _measured(value: float | None) -> str:
    """Four figures, more where a value close to one would read as one."""
    if value is None:
        return "not measured"
    return f"{value:.7f}" if 0 < 1 - value < 5e-5 and f"{value:.7f}"[0] == "0" else f"{value:.4g}"


def _agreement(parity: dict[str, Any], num_images: int) -> dict[str, Any] | None:
    """The share of images with the same first class, its count and its 95 % interval, in percent."""
    share = parity["top1_agreement"]
    if share is None or not num_images:
        return None
    hits = round(share * num_images)
    low, high = wilson_interval(hits, num_images)
    return {"percent": 100 * share, "hits": hits, "low": 100 * low, "high": 100 * high}


def _in_order(entries: Sequence[Entry], networks: Sequence[Network]) -> list[Entry]:
    """By network, each from checkpoint to verdict; what belongs to no network comes last."""
    owned = [entry for network in networks for entry in network.entries]
    names = {entry.name for entry in owned}
    return [*owned, *(entry for entry in entries if entry.name not in names)]


def _scores(verdicts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per candidate with its comparison; references that are no candidates themselves come first."""

    def key(side: dict[str, Any], verdict: dict[str, Any]) -> tuple:
        return side["sha256"], side["backend"], verdict["data"]

    seen = {key(v["candidate"], v) for v in verdicts}
    rows = []
    for verdict in verdicts:
        if key(verdict["reference"], verdict) not in seen:
            seen.add(key(verdict["reference"], verdict))
            rows.append({"side": verdict["reference"], "verdict": None})
    return [*rows, *({"side": v["candidate"], "verdict": v} for v in verdicts)]


def _score_points(verdicts: Sequence[dict[str, Any]]) -> list[ScorePoint]:
    points = []
    for row in _scores(verdicts):
        accuracy = row["side"]["accuracy"]
        if accuracy is not None:
            points.append(
                ScorePoint(
                    label=f"{Path(row['side']['file']).name}\n{row['side']['backend']}",
                    precision=row["side"]["precision"] or "",
                    top1=accuracy["top1_percent"],
                    low=accuracy["top1_low"],
                    high=accuracy["top1_high"],
                )
            )
    return points


def _made_from(entry: Entry) -> list[str]:
    return [f"{record.role}: {record.file} ({record.sha256[:_SHORT_HASH]})" for record in entry.manifest.inputs]


def _environments(findings: Findings) -> list[Any]:
    return list({repr(b.environment): b.environment for b in findings.benchmarks}.values())


def _versions(entries: Sequence[Entry]) -> dict[str, str]:
    """Every package that had a part in a file; several versions are all named."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in entry.manifest.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
