"""What `resnet-deploy bench` shows on a terminal."""

from __future__ import annotations

__all__ = ["milliseconds", "reasons_by_kind", "show"]

import math
import re
from collections.abc import Iterable
from pathlib import Path

from resnet_deploy.cli.render import print_data, table

_NAMES = ("net", "precision", "backend", "batch")
_FIGURES = ("p50 ms", "95 %", "p95", "p99", "images/s")


def show(result) -> None:
    """Tables of the rows, and in words what speaks against them."""
    nets = {row.net: row for row in result.rows}
    counts = (
        (name, *(("-", "-") if r.parameters is None else (f"{r.parameters:,}", f"{r.multiply_adds:,}")), r.weights)
        for name, r in nets.items()
    )
    print_data(table("Networks", ("net", "parameters", "multiply-adds", "weights"), counts))
    timed = [row for row in result.rows if row.timing is not None]
    _show_kernel([row for row in timed if row.mode == "kernel"])
    _show_requests([row for row in timed if row.mode == "application"])
    _show_not_run([row for row in result.rows if row.timing is None])
    for pair in result.interleaved:
        threads = f", threads {pair.threads}" if pair.threads else ""
        print_data(f"Batch {pair.batch}{threads}: {pair.says}{'' if pair.validity.valid else ' (not valid)'}.")
    environment = result.environment
    gpus = "".join(f"; {gpu.name}" for gpu in environment.gpus)
    print_data(f"Measured on {environment.cpu}, {environment.num_cpus} processors{gpus}.")
    _show_energy(timed)
    _show_validity(result, timed)
    for backend in sorted({row.backend for row in timed if row.cuda_graphs}):
        print_data(f"{backend}: passes were replayed as CUDA graphs.")
    for name, text in sorted({(Path(row.file).name, row.note) for row in timed if row.note}):
        print_data(f"{name}: {text}.")
    if any(row.weights.startswith("random") for row in result.rows):
        print_data("Networks with random weights: their latency is real, their outputs mean nothing.")
    if any(row.is_emulated for row in timed):
        print_data(
            "ONNX Runtime on a processor runs FP16 operations, those inside int8 files too, in FP32 between casts."
        )


def _show_kernel(rows) -> None:
    if not rows:
        return
    extra = _extra_columns(rows)
    columns = (*_NAMES, *extra, *_FIGURES, "GMAC/s", "A/A")
    cells = (
        (*_head(row, extra), *_times(row), _rate(row.gmacs_per_second), _percent(row), _state(row)) for row in rows
    )
    print_data(table("Latency of one pass", (*columns, ""), cells, left=3))


def _show_requests(rows) -> None:
    if not rows:
        return
    extra = [name for name in _extra_columns(rows) if name != "workers"]
    columns = (*_NAMES, *extra, *_FIGURES, "pipelined", "A/A")
    cells = (
        (
            *_head(row, extra),
            *_times(row),
            _rate(row.application.pipelined_images_per_second),
            _percent(row),
            _state(row),
        )
        for row in rows
    )
    print_data(table("Latency of one request, from JPEG bytes to classes", (*columns, ""), cells, left=3))
    names = [stage.name for stage in rows[0].application.stages]
    parts = (
        (
            *_head(row, extra),
            *(f"{stage.p50_ms:.2f} ({stage.share:.0%})" for stage in row.application.stages),
            row.application.bound_by,
        )
        for row in rows
    )
    columns = (*_NAMES, *extra, *names, "pipelined: bound by")
    print_data(table("Parts of a request, ms", columns, parts, left=3))
    first = rows[0].application
    print_data(f"Images: {first.images}; pipelined: {first.decode_threads} threads decode ahead.")


def _extra_columns(rows) -> list[str]:
    """Columns that say the same in every row are left out."""
    return [
        name
        for name, usual in (("threads", 0), ("workers", 1), ("repeat", 0))
        if any(getattr(row, name) != usual for row in rows)
    ]


def _head(row, extra) -> tuple:
    backend = row.backend if row.device == "cpu" else f"{row.backend}, {row.device}"
    return (row.net, row.precision or "-", backend, row.batch, *(_extra(row, name) for name in extra))


def _extra(row, name: str) -> str:
    value = getattr(row, name)
    return "all" if name == "threads" and value == 0 else str(value)


def _times(row) -> tuple:
    timing = row.timing
    interval = timing.p50_interval_ms
    between = "-" if interval is None else f"{milliseconds(interval[0])}-{milliseconds(interval[1])}"
    return (
        milliseconds(timing.p50_ms),
        between,
        milliseconds(timing.p95_ms),
        milliseconds(timing.p99_ms),
        f"{timing.images_per_second:.1f}",
    )


def milliseconds(value: float) -> str:
    """Three figures, from 0.00123 to 123."""
    return f"{value:.{max(0, min(5, 2 - math.floor(math.log10(value))))}f}"


def reasons_by_kind(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """One reason of each kind with the number of its kind; what differs in numbers alone is of one kind."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(re.sub(r"[\d.,]+", "#", reason), []).append(reason)
    return [(same[0] if len(set(same)) == 1 else f"{same[0]}, and alike", len(same)) for same in kinds.values()]


def _rate(value) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(row) -> str:
    floor = row.timing.noise_floor
    return "-" if floor is None else f"{floor:.1%}"


def _state(row) -> str:
    return "" if row.validity.valid else "not valid"


def _show_energy(timed) -> None:
    measured = [row for row in timed if row.energy is not None and row.energy.joules_per_image is not None]
    if measured:
        cells = (
            (*_head(row, ()), f"{1e3 * row.energy.joules_per_image:.3g}", f"{row.energy.images_per_joule:.3g}",
             row.energy.source, row.energy.covers)
            for row in measured
        )  # fmt: skip
        columns = ("net", "precision", "backend", "batch", "mJ/image", "images/J", "measured by", "covers")
        print_data(table("Energy", columns, cells, left=3))


def _show_validity(result, timed) -> None:
    for reason in result.validity.reasons:
        print_data(f"Not valid: {reason}.")
    not_valid = [row for row in timed if not row.validity.valid]
    for reason, number in reasons_by_kind(reason for row in not_valid for reason in row.validity.reasons):
        print_data(f"Not valid ({number} of {len(timed)} rows): {reason}.")
    if not_valid:
        print_data("Figures of rows that are not valid should not be quoted: quieten the machine, or raise --seconds.")


def _show_not_run(rows) -> None:
    files: dict = {}
    for row in rows:
        files.setdefault((row.file, row.backend, row.reason), []).append(row)
    cells = (
        (
            Path(file).name,
            backend,
            ",".join(dict.fromkeys(str(row.batch) for row in same)),
            f"{same[0].file_mib:.1f}",
            "-" if same[0].build_seconds is None else f"{same[0].build_seconds:.1f}",
            reason,
        )
        for (file, backend, reason), same in files.items()
    )
    if rows:
        print_data(table("Not run", ("file", "backend", "batch", "MiB", "built in s", "reason"), cells, left=2))
