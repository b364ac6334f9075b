"""How fast: passes and whole requests, comparisons, energy, and which of it may be quoted."""

from __future__ import annotations

__all__ = ["latency_section"]

from pathlib import Path

from resnet_deploy.bench.compare import BenchComparison
from resnet_deploy.bench.rows import BenchRow
from resnet_deploy.report.figures.latency import latency_charts
from resnet_deploy.report.figures.stages import stage_chart
from resnet_deploy.report.numbers import plural
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.report.summary import not_run


def latency_section(material: Material) -> Section | None:
    """Figures by batch size, then the tables; None where nothing was benchmarked."""
    rows = [row for network in material.networks for row in network.rows]
    if not rows:
        return None
    timed = [row for row in rows if row.timing is not None]
    kernel = [row for row in timed if row.mode == "kernel"]
    requests = [row for row in timed if row.application is not None]
    charts = [chart for b in sorted({r.batch for r in kernel}) for chart in latency_charts(material.networks, batch=b)]
    stages = stage_chart(requests)
    benchmarks = material.findings.benchmarks
    return Section(
        name="latency",
        title="Latency",
        heading="How fast is it?",
        data={
            "kernel": kernel,
            "requests": requests,
            "interleaved": [pair for benchmark in benchmarks for pair in benchmark.interleaved],
            "comparisons": [{"result": d.result, "remarks": _remarks(d.result)} for d in material.findings.comparisons],
            "runs_against": [reason for benchmark in benchmarks for reason in benchmark.validity.reasons],
            "against": _against(timed),
            "num_valid": sum(row.validity.valid for row in timed),
            "num_timed": len(timed),
            "energy": [row for row in timed if row.energy is not None and row.energy.joules_per_image is not None],
            "no_energy": _reasons(timed),
            "not_run": not_run(material.networks),
            "any_emulated": any(row.is_emulated for row in timed),
            "any_untrained": any(row.weights.startswith("random") for row in timed),
        },
        charts=(*charts, stages) if stages else tuple(charts),
    )


def _against(rows: list[BenchRow]) -> list[tuple[str, str]]:
    """(reason, which rows) of all that speaks against a figure; one reason is said once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for reason in row.validity.reasons:
            name = f"{Path(row.file).name} on {row.backend}, batch {row.batch}"
            found.setdefault(reason, []).append(name)
    return [
        (reason, names[0] if len(names) == 1 else f"{names[0]} and {plural(len(names) - 1, 'more row')}")
        for reason, names in found.items()
    ]


def _reasons(rows: list[BenchRow]) -> list[str]:
    """Why energy was not measured, each reason once."""
    missing = [row.energy for row in rows if row.energy is not None and row.energy.joules_per_image is None]
    return list(dict.fromkeys(energy.reason.removeprefix("not measured: ") for energy in missing))


def _remarks(comparison: BenchComparison) -> list[str]:
    """What differs, what was not judged and why, what has no partner; each once."""
    texts = [
        *(f"differs: {text}" for text in comparison.differences),
        *(f"{row.verdict}: {reason}" for row in comparison.rows for reason in row.reasons),
        *(f"only in the old one: {text}" for text in comparison.only_old),
        *(f"only in the new one: {text}" for text in comparison.only_new),
    ]
    return list(dict.fromkeys(texts))
