"""`resnet-deploy deploy`: every stage of one plan."""

from __future__ import annotations

__all__ = ["command", "run_plan"]

import os
from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import FORCE, JSON
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ExitCode


def command(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="See docs/guides/deploy.md.")],
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Run every stage that one TOML file describes, skipping what is up to date."""
    from resnet_deploy.pipeline.plan import load_plan

    run_plan(load_plan(plan), force=force, json=json)


def run_plan(plan, *, force: bool, json: bool) -> None:
    """Run a plan, show what came of it, and end with exit code 1 where a verdict failed."""
    from resnet_deploy.pipeline.deploy import deploy

    with ProgressBar() as progress:
        result = deploy(plan, progress, force=force, num_processes=os.cpu_count() or 1)
    if json:
        print_json(result)
    else:
        _show(result)
    if not result.passed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _show(result) -> None:
    print_data(
        table(
            "Stages",
            ("stage", "file", "state", "seconds", "note"),
            ((r.stage, r.file, r.state, f"{r.seconds:.1f}", r.note) for r in result.stages),
            left=3,
        )
    )
    if result.benchmark is not None:
        _show_latency(result.benchmark)
    if result.verdicts:
        columns = ("candidate", "backend", "top-1 %", "reference %", "drop, points", "agreement", "verdict")
        print_data(table("Verdicts", columns, map(_verdict_cells, result.verdicts), left=2))
    if result.report is not None:
        print_data(f"report: {result.report}")
    note(f"{'all verdicts passed' if result.passed else 'A VERDICT FAILED'}, {result.seconds:.0f} s in all")


def _verdict_cells(verdict) -> tuple:
    def percent(side) -> str:
        return "-" if side.accuracy is None else f"{side.accuracy.top1_percent:.2f}"

    return (
        Path(verdict.candidate.file).name,
        verdict.candidate.backend,
        percent(verdict.candidate),
        percent(verdict.reference),
        "-" if verdict.top1_drop is None else f"{verdict.top1_drop:+.2f}",
        f"{verdict.parity.top1_agreement:.4f}",
        "passed" if verdict.passed else "FAILED",
    )


def _show_latency(benchmark) -> None:
    """One row a network: its size, its engines, and p50 of the smallest batch on every backend that ran."""
    batch = min(row.batch for row in benchmark.rows)
    rows = [row for row in benchmark.rows if row.batch == batch]
    columns = list(dict.fromkeys((row.backend, str(row.precision or "-")) for row in rows if row.timing is not None))
    cells = []
    for net in dict.fromkeys(row.net for row in rows):
        of_net = [row for row in rows if row.net == net]
        engines = [row for row in of_net if row.file.endswith(".engine")]
        times = {(r.backend, str(r.precision or "-")): f"{r.timing.p50_ms:.2f}" for r in of_net if r.timing is not None}
        cells.append(
            (
                net,
                f"{of_net[0].parameters / 1e6:.2f}",
                f"{of_net[0].multiply_adds / 1e9:.2f}",
                " / ".join(f"{row.file_mib:.1f}" for row in engines) or "-",
                " / ".join(f"{row.build_seconds:.1f}" for row in engines) or "-",
                *(times.get(column, "-") for column in columns),
            )
        )
    precisions = " / ".join(dict.fromkeys(str(row.precision) for row in rows if row.file.endswith(".engine")))
    print_data(
        table(
            f"Latency of a batch of {batch}, p50 in ms; engines are {precisions or 'not built'}",
            (
                "net",
                "M params",
                "G mul-adds",
                "engine MiB",
                "built in s",
                *(f"{backend} {precision}" for backend, precision in columns),
            ),
            cells,
        )
    )
    for backend, reason in dict.fromkeys((row.backend, row.reason) for row in rows if row.timing is None):
        print_data(f"{backend} engines: {reason}")
