"""Benchmark rows of files that take turns, and the ratio of each to the first."""

from __future__ import annotations

__all__ = ["interleaved_rows"]

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnet_deploy.bench.machine.validity import Validity
from resnet_deploy.bench.machine.watch import Watch
from resnet_deploy.bench.measure.inputs import input_of
from resnet_deploy.bench.measure.interleave import Interleaved, TurnSamples, compare_turns, take_turns
from resnet_deploy.bench.measure.one_row import Setup, judged_row, missing_row
from resnet_deploy.bench.measure.paired import say_ratio
from resnet_deploy.bench.measure.timing import Sampling, checked_seconds, summarize
from resnet_deploy.bench.options import Case
from resnet_deploy.bench.rows import BenchRow, Described
from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.progress import Progress
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.runners.passes import why_not_one_pass


def interleaved_rows(
    described: list[Described], setup: Setup, progress: Progress
) -> Iterator[tuple[list[BenchRow], list[Interleaved]]]:
    """For each number of threads and each batch: the rows of all files, and the comparisons with the first.

    All files are open at the same time. One whose backend is not here is a row with its reason, as without turns.

    Raises:
        MissingDependencyError: Fewer than two files can be run here; nothing can be compared then.
        ConfigError: A batch is not one pass of some file.
    """
    options = setup.options
    for threads in options.threads:
        with ExitStack() as stack:
            opened = [_open(item, setup, threads, stack) for item in described]
            items = [item for item, found in zip(described, opened, strict=True) if not isinstance(found, Exception)]
            runners = [found for found in opened if not isinstance(found, Exception)]
            missing = [
                (item, found) for item, found in zip(described, opened, strict=True) if isinstance(found, Exception)
            ]
            if missing and len(runners) < 2:
                raise missing[0][1]
            for batch in options.batches:
                rows, found = _of_batch(items, runners, setup, batch, threads)
                absent = [missing_row(item, Case(batch=batch), error, threads=threads) for item, error in missing]
                yield rows + absent, found
                progress.advance(note=f"{len(runners)} files, batch {batch}")


def _open(item: Described, setup: Setup, threads: int, stack: ExitStack) -> Runner | MissingDependencyError:
    from resnet_deploy.engine.open import open_runner

    target, cuda_graphs = item.target, setup.options.cuda_graphs
    try:
        return stack.enter_context(
            open_runner(target.file, backend=target.backend, num_threads=threads, cuda_graphs=cuda_graphs)
        )
    except MissingDependencyError as error:
        return error


def _of_batch(
    described: list[Described], runners: list[Runner], setup: Setup, batch: int, threads: int
) -> tuple[list[BenchRow], list[Interleaved]]:
    loops = [_loop_of(item, runner, setup, batch) for item, runner in zip(described, runners, strict=True)]
    devices = [runner.info.device for runner in runners if runner.info.device != "cpu"]
    watch = Watch(nvml=setup.nvml, device=devices[0] if devices else "cpu")
    sides = take_turns(loops, sampling=setup.options.sampling, watch=watch)
    rows = [
        _row_of(item, runner, side, setup.options.sampling, watch, Case(batch=batch), threads)
        for item, runner, side in zip(described, runners, sides, strict=True)
    ]
    names = _names_of(rows)
    found = []
    for index in range(1, len(rows)):
        ratio = compare_turns(sides[0], sides[index])
        reasons = [f"{names[place]}: {reason}" for place in (0, index) for reason in rows[place].validity.reasons]
        found.append(
            Interleaved(
                first=names[0],
                other=names[index],
                batch=batch,
                threads=threads,
                ratio=ratio,
                says=say_ratio(ratio, names[0], names[index]),
                validity=Validity.of(reasons),
            )
        )
    return rows, found


def _loop_of(item: Described, runner: Runner, setup: Setup, batch: int) -> Callable[[int], np.ndarray]:
    if reason := why_not_one_pass(runner.info, batch):
        raise ConfigError(
            f"{item.target.file}: {reason}", remedy="compare the files at a batch that is one pass of each"
        )
    feeds = input_of(runner, item.manifest, batch=batch, size_px=setup.options.size_px)
    return lambda passes: checked_seconds(runner, runner.timed_loop(feeds, passes), passes)


def _row_of(
    item: Described, runner: Runner, side: TurnSamples, sampling: Sampling, watch: Watch, case: Case, threads: int
) -> BenchRow:
    timing = summarize(np.concatenate(side.turns), batch=case.batch, warmup=side.warmup, sampling=sampling)
    row = judged_row(runner, item, case, timing=timing, conditions=watch.conditions, threads=threads)
    # the watch saw all runners: whose energy it was can not be said
    return replace(row, energy=None)


def _names_of(rows: list[BenchRow]) -> list[str]:
    """File names, with the backend where one file runs on several, and numbered where all is the same."""
    files = [Path(row.file).name for row in rows]
    names = [name if files.count(name) == 1 else f"{row.backend}:{name}" for name, row in zip(files, rows, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(names)]
