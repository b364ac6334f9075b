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
from resnet_deploy.bench.gather import Entry, Findings, gather
from resnet_deploy.bench.plots import ScorePoint, accuracy_plot, curve_plot, latency_plot, size_plot
from resnet_deploy.bench.run import BenchRow
from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.progress import NO_PROGRESS, Progress

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
        summary: The sentence it begins with.
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
    progress.advance()
    rows = [row for benchmark in findings.benchmarks for row in benchmark.rows]
    summary, missing = _summary(findings), _missing(findings)
    page = _template().render(
        title=options.title,
        created=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        summary=summary,
        verdicts=findings.verdicts,
        scores=_scores(findings.verdicts),
        accuracy_svg=Markup(accuracy_plot(_score_points(findings.verdicts))),
        curve_svg=Markup(curve_plot(findings.curves)),
        size_svg=Markup(size_plot(_sizes(findings.entries))),
        latency_svgs=[(b, Markup(svg)) for b in _batches(rows) if (svg := latency_plot(rows, batch=b))],
        timed_rows=[row for row in rows if row.timing is not None],
        not_run=_not_run(rows),
        engines=[entry for entry in findings.entries if entry.manifest.kind == "engine"],
        entries=findings.entries,
        made_from={entry.name: _made_from(entry) for entry in findings.entries},
        environments=_environments(findings),
        versions=_versions(findings.entries),
        missing=missing,
        unreadable=findings.unreadable,
    )
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
    progress.advance()
    failed = sum(not verdict["passed"] for verdict in findings.verdicts)
    return ReportResult(
        file=options.file,
        summary=summary,
        num_verdicts=len(findings.verdicts),
        num_failed_verdicts=failed,
        missing=missing,
    )


def _template():
    environment = TemplateEnvironment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: "-" if value is None else f"{value:,}"
    environment.filters["number"] = lambda value, digits=2: "-" if value is None else f"{value:.{digits}f}"
    environment.filters["signed"] = lambda value, digits=2: "-" if value is None else f"{value:+.{digits}f}"
    environment.filters["short"] = lambda text: text[:_SHORT_HASH]
    environment.filters["mib"] = lambda size: f"{size / _MIB:.3g}"
    environment.filters["images_of"] = lambda verdict: (verdict["data"], verdict["num_images"])
    environment.filters["basename"] = lambda path: Path(path).name
    source = resources.files("resnet_deploy.bench").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _summary(findings: Findings) -> str:
    engines = [entry for entry in findings.entries if entry.manifest.kind == "engine"]
    nets = sorted({entry.manifest.net.name for entry in findings.entries if entry.manifest.net})
    parts = [f"{', '.join(nets)}:" if nets else "No network found:"]
    parts.append(f"{len(engines)} engine{'s' if len(engines) != 1 else ''} built;")
    if not findings.verdicts:
        return " ".join([*parts, "no verdict was taken, so nothing is known of their accuracy."])
    stale = [v for v in findings.verdicts if v["stale"]]
    failed = [v for v in findings.verdicts if not v["passed"]]
    if stale:
        names = ", ".join(dict.fromkeys(Path(v["candidate"]["file"]).name for v in stale))
        parts.append(f"{len(stale)} verdicts are OUT OF DATE, their files were made anew ({names}): validate again.")
    if failed:
        names = ", ".join(Path(v["candidate"]["file"]).name for v in failed)
        return " ".join([*parts, f"{len(failed)} of {len(findings.verdicts)} verdicts FAILED ({names})."])
    if stale:
        return " ".join(parts)
    drops = [v["top1_drop"] for v in findings.verdicts if v.get("top1_drop") is not None]
    worst = f", largest top-1 drop {max(drops):+.2f} points" if drops else ""
    return " ".join([*parts, f"all {len(findings.verdicts)} verdicts passed{worst}."])


def _missing(findings: Findings) -> tuple[str, ...]:
    kinds = {entry.manifest.kind for entry in findings.entries}
    sentences = []
    if not findings.verdicts:
        sentences.append("No verdict: run `resnet-deploy validate` to compare a file with its reference.")
    if not findings.curves:
        sentences.append("No training curve: the network was imported or not trained in this folder.")
    if not findings.benchmarks:
        sentences.append("No benchmark: run `resnet-deploy bench`.")
    if "engine" not in kinds:
        sentences.append("No engine: run `resnet-deploy build`.")
    return tuple(sentences)


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


def _sizes(entries: Sequence[Entry]) -> list[tuple[str, str, float]]:
    return [
        (Path(e.name).name, str(e.manifest.precision or "fp32"), e.manifest.size_bytes / _MIB)
        for e in entries
        if e.manifest.kind in ("checkpoint", "onnx", "engine")
    ]


def _batches(rows: Sequence[BenchRow]) -> list[int]:
    return sorted({row.batch for row in rows if row.timing is not None})


def _not_run(rows: Sequence[BenchRow]) -> list[tuple[str, str]]:
    """(what, why), each once, whatever the batch size."""
    return list(dict.fromkeys((f"{Path(r.file).name} on {r.backend}", r.reason) for r in rows if r.timing is None))


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
