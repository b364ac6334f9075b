"""`resnet-deploy bench compare`: a new benchmark against an old one, as a gate."""

from __future__ import annotations

__all__ = ["compare"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.bench_show import milliseconds, reasons_by_kind
from resnet_deploy.cli.options import JSON, OUT
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ExitCode


def compare(
    old: Annotated[Path, typer.Argument(help="A file that `bench` wrote, what is expected.")],
    new: Annotated[Path, typer.Argument(help="Another one, what is to be judged.")],
    max_slowdown: Annotated[
        float, typer.Option("--max-slowdown", help="That is allowed, e.g. 0.02 for 2 %.", min=0.0)
    ] = 0.02,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare although the machines differ.")
    ] = False,
    require_valid: Annotated[
        bool, typer.Option("--require-valid", help="End with 1 where a row could not be judged.")
    ] = False,
    out: OUT = None,
    json: JSON = False,
) -> int:
    """Compare two benchmarks; end with 1 where a row became slower beyond doubt, the noise and --max-slowdown."""
    from resnet_deploy.bench.compare import CompareOptions, compare_files

    options = CompareOptions(old=old, new=new, max_slowdown=max_slowdown, across_machines=across_machines, out=out)
    result = compare_files(options)
    if json:
        print_json(result)
    else:
        _show(result)
    if out is not None:
        note(f"written to {out}")
    unjudged = any(row.verdict == "not judged" for row in result.rows)
    return ExitCode.DONE if result.passed and not (require_valid and unjudged) else ExitCode.CHECK_FAILED


def _show(result) -> None:
    columns = (
        "net",
        "precision",
        "backend",
        "batch",
        "threads",
        "mode",
        "old ms",
        "new ms",
        "ratio",
        "99 %",
        "verdict",
    )
    print_data(table("New over old", columns, map(_cells, result.rows), left=3))
    if result.differences:
        print_data(f"What differs: {'; '.join(result.differences)}.")
    for name, rows in (("old", result.only_old), ("new", result.only_new)):
        if rows:
            print_data(f"Only in the {name} one: {'; '.join(rows)}.")
    for judged, said in ((False, "Not judged"), (True, "Judged")):
        reasons = {reason for row in result.rows if (row.verdict != "not judged") == judged for reason in row.reasons}
        for reason, _ in reasons_by_kind(sorted(reasons)):
            print_data(f"{said}: {reason}.")
    judged = [row for row in result.rows if row.verdict != "not judged"]
    regressions = [row for row in judged if row.verdict == "regression"]
    print_data(
        f"{len(regressions)} of {len(judged)} rows are regressions (over {result.max_slowdown:.1%} and over the noise), "
        f"{len(result.rows) - len(judged)} were not judged: {'passed' if result.passed else 'failed'}."
    )
    if not judged:
        print_data("Nothing could be judged, which is no pass: measure again on a quiet machine.")
    if any("blocks" in row.units for row in judged):
        print_data(
            "Single runs: what differs from run to run is not in the intervals; `bench --repeats 3` measures it."
        )


def _cells(row) -> tuple:
    backend = row.backend if row.device == "cpu" else f"{row.backend}, {row.device}"
    mode = row.mode if row.workers == 1 else f"{row.mode}, {row.workers} workers"
    interval = "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    times = milliseconds(row.old_p50_ms), milliseconds(row.new_p50_ms), f"{row.ratio:.3f}"
    return (
        row.net,
        row.precision or "-",
        backend,
        row.batch,
        row.threads or "all",
        mode,
        *times,
        interval,
        row.verdict,
    )
