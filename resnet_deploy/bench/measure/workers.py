"""Throughput of several runners over one loaded network, each in a thread of its own."""

from __future__ import annotations

__all__ = ["measure_workers"]

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import numpy as np

from resnet_deploy.bench.machine.watch import NO_WATCH, Watcher
from resnet_deploy.bench.measure.timing import Sampling, Timing, checked_seconds, summarize
from resnet_deploy.bench.measure.warmup import round_seconds_of, warm_up
from resnet_deploy.engine.contract import Runner

_CHUNKS = 8


def measure_workers(
    runner: Runner,
    feeds: Mapping[str, np.ndarray],
    *,
    workers: int,
    sampling: Sampling,
    watch: Watcher = NO_WATCH,
) -> Timing:
    """Time the passes of `workers` forks of a runner that run at the same time.

    Latency is that of a pass while the others run; throughput counts the passes of all.

    Args:
        workers: At least 2; the runner itself is not one of them.
        watch: As in `timing.measure`.
    Raises:
        EngineRunError: A worker failed.
    """

    def seconds_of(iterations: int) -> np.ndarray:
        return checked_seconds(runner, runner.timed_loop(feeds, iterations), iterations)

    warmup, per_pass = warm_up(
        seconds_of,
        round_seconds=round_seconds_of(sampling.min_seconds),
        max_seconds=sampling.max_seconds,
        clock=time.perf_counter,
    )
    step = max(1, int(sampling.min_seconds / _CHUNKS / per_pass / workers))
    with ExitStack() as forks, ThreadPoolExecutor(workers) as pool:
        team = [_Worker(forks.enter_context(runner.fork()), feeds, step, sampling) for _ in range(workers)]
        list(pool.map(_Worker.chunk, team))  # what each sets up for itself
        watch.begin()
        running = [pool.submit(worker.sample) for worker in team]
        while wait(running, timeout=sampling.min_seconds / _CHUNKS).not_done:
            watch.between()
        watch.end()
        parts = [future.result() for future in running]
    length = min(map(len, parts))
    samples = np.stack([part[:length] for part in parts], axis=1).reshape(-1)  # about in the order they were made
    batch = next(iter(feeds.values())).shape[0]
    return summarize(samples, batch=batch, warmup=warmup, sampling=sampling, workers=workers)


class _Worker:
    """Chunks of passes until there are enough."""

    def __init__(self, runner: Runner, feeds: Mapping[str, np.ndarray], step: int, sampling: Sampling) -> None:
        self._runner, self._feeds, self._step, self._sampling = runner, feeds, step, sampling

    def sample(self) -> np.ndarray:
        """Seconds of the passes, in order."""
        chunks, start = [], time.perf_counter()
        while True:
            chunks.append(self.chunk())
            elapsed = time.perf_counter() - start
            enough = elapsed >= self._sampling.min_seconds and sum(map(len, chunks)) >= self._sampling.min_samples
            if enough or elapsed >= self._sampling.max_seconds:
                return np.concatenate(chunks)

    def chunk(self) -> np.ndarray:
        return checked_seconds(self._runner, self._runner.timed_loop(self._feeds, self._step), self._step)
