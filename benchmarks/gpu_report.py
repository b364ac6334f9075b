"""The report of `gpu_check`: Markdown to read, JSON beside it to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpu_steps import STEPS, Outcome


def write_report(outcomes: Sequence[Outcome], file: Path, environment: Any, driver: Any) -> Path:
    """Write `file` (.md) and the same as .json; both whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    data = {
        "created": created,
        "environment": asdict(environment),
        "gpus": [asdict(gpu) for gpu in driver.gpus],
        "driver_cuda": driver.version,
        "steps": [outcome.as_dict() for outcome in outcomes],
    }
    _write(file.with_suffix(".json"), json.dumps(data, indent=1) + "\n")
    _write(file, "\n".join(_lines(outcomes, environment, driver, created)) + "\n")
    return file


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _lines(outcomes: Sequence[Outcome], environment: Any, driver: Any, created: str):
    yield f"# GPU check, {created[:10]}"
    yield ""
    gpus = "; ".join(f"{gpu.name}, compute capability {gpu.compute_capability}" for gpu in driver.gpus)
    yield f"{gpus or f'A rehearsal: {driver.reason}'}. Driver for CUDA {driver.version or '-'}. {environment.cpu}."
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in environment.packages.items()) + "."
    yield ""
    yield from _table(
        ("step", "outcome", "", "s"), [(o.name, o.state, o.summary, f"{o.seconds:.0f}") for o in outcomes]
    )
    done = {outcome.name.partition(":")[0] for outcome in outcomes}
    for missing in [name for name in STEPS if name not in done]:
        yield f"- `{missing}` was not asked for."
    for outcome in outcomes:
        yield ""
        yield f"## {outcome.name}: {outcome.state}"
        yield ""
        yield STEPS[outcome.name.partition(":")[0]].__doc__.strip().splitlines()[0]
        if outcome.rows:
            yield ""
            columns = list(dict.fromkeys(name for row in outcome.rows for name in row))
            yield from _table(columns, [[row.get(name, "") for name in columns] for row in outcome.rows])
        for note in outcome.notes:
            yield ""
            yield note


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]):
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())
