"""Latency of one runner: warm-up until it is steady, then samples with their order statistics and intervals."""

from __future__ import annotations

__all__ = ["NOISY_SPREAD", "Sampling", "Timing", "checked_seconds", "measure", "sample", "summarize"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from resnet_deploy.bench.machine.watch import NO_WATCH, Watcher
from resnet_deploy.bench.measure.intervals import (
    Drift,
    block_medians,
    drift_of,
    mean_interval,
    noise_floor_of,
    quantile_intervals,
)
from resnet_deploy.bench.measure.warmup import WarmUp, round_seconds_of, warm_up
from resnet_deploy.core.errors import ConfigError, EngineRunError
from resnet_deploy.engine.contract import Runner

NOISY_SPREAD = 1.25
"""p90 / p50 above which a row is called noisy: a difference of a quarter would be within its own scatter."""

_CHUNKS = 8  # in which the sampling time is spent; between two the machine is looked at


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How long to measure.

    Attributes:
        min_seconds, min_samples: Sampling ends when both are reached, or at `max_seconds`.
        max_seconds: For warm-up and for sampling, each; at least one pass is always made.
    """

    min_seconds: float = 1.0
    min_samples: int = 10
    max_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds or self.min_samples < 1:
            raise ConfigError(
                f"min_seconds {self.min_seconds}, max_seconds {self.max_seconds}, min_samples {self.min_samples}: "
                "expected 0 < min_seconds <= max_seconds and at least one sample"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Time of one pass of `batch` images, or of one request of an application.

    In kernel mode inputs and outputs stay where the backend computes. Intervals hold with 95 % confidence, and are
    None where there are too few samples: five for any, five beyond a quantile for its own.

    Attributes:
        p50_ms, p90_ms, p95_ms, p99_ms: Order statistics of the samples (a value that was measured, none in between).
        p50_interval_ms, p90_interval_ms, p95_interval_ms, p99_interval_ms: By a bootstrap over blocks of consecutive samples.
        mean_interval_ms: By the means of blocks.
        images_per_second: batch / mean, of all workers together.
        images_per_second_interval: From that of the mean.
        variation: Standard deviation / mean.
        spread: p90 / p50; 1 on a quiet machine.
        drift: Trend over the samples; None for fewer than ten.
        noise_floor: What an A/A comparison within the row would take for a difference, e.g. 0.01 for 1 %; None for fewer
            than ten samples. It knows nothing of what differs between two runs of a program.
        block_medians_ms: Of at most 20 consecutive blocks; what a later comparison needs, in place of all samples.
        warmup: How the passes before the first sample ended.
        noise: Why the row should not be trusted; empty where it can be.
    """

    batch: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    num_samples: int
    images_per_second: float
    variation: float
    spread: float
    warmup: WarmUp
    noise: str
    p50_interval_ms: tuple[float, float] | None = None
    p90_interval_ms: tuple[float, float] | None = None
    p95_interval_ms: tuple[float, float] | None = None
    p99_interval_ms: tuple[float, float] | None = None
    mean_interval_ms: tuple[float, float] | None = None
    images_per_second_interval: tuple[float, float] | None = None
    drift: Drift | None = None
    noise_floor: float | None = None
    block_medians_ms: tuple[float, ...] = ()


def measure(
    runner: Runner,
    feeds: Mapping[str, np.ndarray],
    *,
    sampling: Sampling,
    clock: Callable[[], float] = time.perf_counter,
    watch: Watcher = NO_WATCH,
) -> Timing:
    """Time `runner` on `feeds`.

    Args:
        clock: Ends warm-up and sampling; the samples themselves are what the runner reports.
        watch: Told when samples are taken.
    Raises:
        EngineRunError: A reported time is not a positive number.
    """

    def seconds_of(iterations: int) -> np.ndarray:
        return checked_seconds(runner, runner.timed_loop(feeds, iterations), iterations)

    samples, warmup = sample(seconds_of, sampling=sampling, clock=clock, watch=watch)
    batch = next(iter(feeds.values())).shape[0]
    return summarize(samples, batch=batch, warmup=warmup, sampling=sampling)


def sample(
    seconds_of: Callable[[int], np.ndarray],
    *,
    sampling: Sampling,
    clock: Callable[[], float] = time.perf_counter,
    watch: Watcher = NO_WATCH,
) -> tuple[np.ndarray, WarmUp]:
    """Warm up, then take samples until there are enough; gives the seconds of each in order, and how warm-up ended.

    Args:
        seconds_of: Makes that many passes and gives their times, at least that many.
    """
    round_seconds = round_seconds_of(sampling.min_seconds)
    warmup, per_pass = warm_up(seconds_of, round_seconds=round_seconds, max_seconds=sampling.max_seconds, clock=clock)
    step = max(1, int(sampling.min_seconds / _CHUNKS / per_pass))
    samples: list[np.ndarray] = []
    watch.begin()
    count, start = 0, clock()
    while True:
        samples.append(seconds_of(step))
        count += len(samples[-1])
        elapsed = clock() - start
        enough = elapsed >= sampling.min_seconds and count >= sampling.min_samples
        if enough or elapsed >= sampling.max_seconds:
            break
        watch.between()
    watch.end()
    return np.concatenate(samples), warmup


def summarize(seconds: np.ndarray, *, batch: int, warmup: WarmUp, sampling: Sampling, workers: int = 1) -> Timing:
    """Order statistics, intervals, drift and noise floor of the seconds of each pass, given in the order they were made.

    Args:
        seconds: [N], positive.
        workers: Passes that were under way at any time; throughput counts them all.
    """
    ms = np.asarray(seconds, dtype=np.float64) * 1e3
    quantiles = (0.50, 0.90, 0.95, 0.99)
    p50, p90, p95, p99 = (float(x) for x in np.quantile(ms, quantiles, method="inverted_cdf"))
    in50, in90, in95, in99 = quantile_intervals(ms, quantiles)
    mean, mean_in = float(ms.mean()), mean_interval(ms)
    rate = 1e3 * batch * workers
    return Timing(
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=mean,
        num_samples=len(ms),
        images_per_second=rate / mean,
        variation=float(ms.std(ddof=1) / mean) if len(ms) > 1 else 0.0,
        spread=p90 / p50,
        warmup=warmup,
        noise=_noise_of(p90 / p50, len(ms), sampling),
        p50_interval_ms=in50,
        p90_interval_ms=in90,
        p95_interval_ms=in95,
        p99_interval_ms=in99,
        mean_interval_ms=mean_in,
        images_per_second_interval=(rate / mean_in[1], rate / mean_in[0]) if mean_in and mean_in[0] > 0 else None,
        drift=drift_of(ms),
        noise_floor=noise_floor_of(ms),
        block_medians_ms=tuple(block_medians(ms).tolist()),
    )


def _noise_of(spread: float, count: int, sampling: Sampling) -> str:
    if spread > NOISY_SPREAD:
        return f"p90 is {spread:.2f} times the median (quiet: at most {NOISY_SPREAD})"
    if count < sampling.min_samples:
        return f"{count} samples in {sampling.max_seconds:g} s, {sampling.min_samples} were wanted"
    return ""


def checked_seconds(runner: Runner, seconds: np.ndarray, iterations: int) -> np.ndarray:
    """What a runner reported as the seconds of its passes, [iterations].

    Raises:
        EngineRunError: Not as many, or not positive.
    """
    seconds = np.asarray(seconds, dtype=np.float64)
    if seconds.shape != (iterations,) or not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise EngineRunError(
            f"{runner.info.backend} reported {seconds.tolist()[:3]} ... for {iterations} passes, "
            "expected as many positive times"
        )
    return seconds
