"""Benchmarks: files on backends, in every combination of batch, threads, mode and workers that was asked for."""

from __future__ import annotations

__all__ = [
    "MODES",
    "BenchOptions",
    "BenchRow",
    "BenchTarget",
    "Benchmark",
    "bench",
    "cost_of",
    "read_benchmark",
    "weights_of",
]

import time
from collections.abc import Iterator
from datetime import datetime, timezone

from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.machine.nvml import open_nvml
from resnet_deploy.bench.machine.validity import judge_machine
from resnet_deploy.bench.measure.application import read_photos
from resnet_deploy.bench.measure.interleave import Interleaved
from resnet_deploy.bench.measure.one_row import Setup, measure_case, missing_row
from resnet_deploy.bench.measure.turns import interleaved_rows
from resnet_deploy.bench.options import MODES, BenchOptions, BenchTarget
from resnet_deploy.bench.rows import Benchmark, BenchRow, Described, cost_of, read_benchmark, weights_of
from resnet_deploy.core.artifacts import write_result
from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS, Progress


def bench(options: BenchOptions, progress: Progress = NO_PROGRESS) -> Benchmark:
    """Time every target in every case, one runner at a time in the order given, or in turns, and write the rows.

    Never skipped: a measurement is of this machine now.

    Raises:
        ArtifactError: A file is missing, truncated or not what its manifest says.
        DataError: The folder of images is missing, or an image can not be used.
        EngineRunError: A network failed while it ran.
    """
    started = time.perf_counter()
    described = [Described(target) for target in options.targets]
    photos = None if options.images is None else read_photos(options.images)
    environment = capture_environment()
    setup = Setup(options=options, nvml=open_nvml(), photos=photos)
    rows: list[BenchRow] = []
    interleaved: list[Interleaved] = []
    try:
        if options.interleave:
            progress.start("taking turns", len(options.threads) * len(options.batches))
            for found_rows, found in interleaved_rows(described, setup, progress):
                rows += found_rows
                interleaved += found
        else:
            total = options.repeats * len(options.threads) * len(described) * len(options.cases)
            progress.start("timing", total)
            for repeat in range(options.repeats):
                for threads in options.threads:
                    for item in described:
                        rows.extend(_rows_of(item, setup, threads, repeat, progress))
    finally:
        if setup.nvml is not None:
            setup.nvml.close()
    after = capture_environment()
    benchmark = Benchmark(
        file=str(options.out),
        rows=tuple(rows),
        environment=environment,
        load_1min_after=after.load_1min,
        sampling=options.sampling,
        threads=options.threads,
        seconds=time.perf_counter() - started,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        interleaved=tuple(interleaved),
        validity=judge_machine(environment, after, shares_known=_shares_known(rows)),
    )
    _write(benchmark, options)
    return benchmark


def _shares_known(rows: list[BenchRow]) -> bool:
    watched = [row.conditions for row in rows if row.conditions is not None]
    return all(conditions.processors.other_share is not None for conditions in watched)


def _write(benchmark: Benchmark, options: BenchOptions) -> None:
    said = {name: getattr(options, name) for name in _SAID}
    write_result(
        benchmark,
        options.out,
        kind="benchmark",
        stage="bench",
        inputs={f"file {i}": target.file for i, target in enumerate(options.targets)},
        options={**said, "images": None if options.images is None else options.images.name},
        packages=tuple(benchmark.environment.packages),
    )


_SAID = (
    "batches", "sampling", "size_px", "threads", "modes", "workers", "decode_threads", "repeats", "interleave",
    "cuda_graphs",
)  # fmt: skip


def _rows_of(item: Described, setup: Setup, threads: int, repeat: int, progress: Progress) -> Iterator[BenchRow]:
    from resnet_deploy.engine.open import open_runner

    target, options = item.target, setup.options
    try:
        runner = open_runner(target.file, backend=target.backend, num_threads=threads, cuda_graphs=options.cuda_graphs)
    except MissingDependencyError as error:
        for case in options.cases:
            yield missing_row(item, case, error, threads=threads, repeat=repeat)
            progress.advance()
        return
    with runner:
        for case in options.cases:
            row = measure_case(runner, item, case, setup, threads=threads, repeat=repeat)
            yield row
            said = row.reason if row.timing is None else f"{row.timing.p50_ms:.1f} ms"
            progress.advance(note=f"{target.file.name} {row.backend} x{case.batch} {case.mode}: {said}")
