from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from typing_extensions import Self

from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.bench.measure.workers import measure_workers
from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo

_FEEDS = {"images": np.zeros((2, 3, 4, 4), dtype=np.float32)}
_SAMPLING = Sampling(min_seconds=0.08, min_samples=5, max_seconds=0.5)


class Sleeper:
    """Each pass sleeps 2 ms, as a pass does that waits for a device; forks fail where `fails` is set."""

    def __init__(self, fails: bool = False, threads: set | None = None) -> None:
        spec = TensorSpec(name="images", dtype="float32", shape=("N", 3, 4, 4))
        self.info = RunnerInfo(backend="sleeper", version="1", device="cpu", file="x", inputs=(spec,), outputs=())
        self.fails, self.is_fork, self.closed = fails, False, 0
        self.threads = set() if threads is None else threads
        self.forks: list[Sleeper] = []

    def fork(self) -> Sleeper:
        other = Sleeper(self.fails, self.threads)
        other.is_fork = True
        self.forks.append(other)
        return other

    def timed_loop(self, feeds: dict, iterations: int) -> np.ndarray:
        if self.fails and self.is_fork:
            raise EngineRunError("sleeper: out of memory")
        if self.is_fork:
            self.threads.add(threading.get_ident())
        seconds = np.empty(iterations)
        for index in range(iterations):
            start = time.perf_counter()
            time.sleep(0.002)
            seconds[index] = time.perf_counter() - start
        return seconds

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_workers_run_at_the_same_time_each_in_its_thread_and_throughput_counts_them_all() -> None:
    runner = Sleeper()
    timing = measure_workers(runner, _FEEDS, workers=3, sampling=_SAMPLING)
    assert timing.images_per_second == pytest.approx(3 * 2 * 1e3 / timing.mean_ms)
    assert len(runner.threads) >= 2 and len(runner.forks) == 3
    assert all(fork.closed == 1 for fork in runner.forks) and runner.closed == 0
    # three sleepers at once make more passes than the time holds one after another
    assert timing.num_samples >= 3 * 5


def test_a_worker_that_fails_ends_the_measurement_with_its_error() -> None:
    with pytest.raises(EngineRunError, match="out of memory"):
        measure_workers(Sleeper(fails=True), _FEEDS, workers=2, sampling=_SAMPLING)
