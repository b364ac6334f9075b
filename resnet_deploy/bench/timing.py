"""Latency of one runner: warm-up until it is steady, then samples with their order statistics."""

from __future__ import annotations

__all__ = ["NOISY_SPREAD", "Sampling", "Timing", "measure", "summarize"]

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import ConfigError, EngineRunError
from resnet_deploy.engine.contract import Runner

NOISY_SPREAD = 1.25
"""p90 / p50 above which a row is called noisy: a difference of a quarter would be within its own scatter."""

_STEADY = 1.05
"""Warm-up ends when two rounds in a row differ by at most 5 % in their median."""

_ROUND_SHARE = 0.1
"""A warm-up round lasts about this share of the sampling time."""


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
    """Latency of one forward pass of `batch` images, inputs and outputs staying where the backend computes.

    Attributes:
        p50_ms, p90_ms, p99_ms: Order statistics of the samples (a value that was measured, none in between).
        images_per_second: batch / mean.
        spread: p90 / p50; 1 on a quiet machine.
        warmup_passes: Passes before the first sample.
        noise: Why the row should not be trusted; empty where it can be.
    """

    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    num_samples: int
    images_per_second: float
    spread: float
    warmup_passes: int
    noise: str


def measure(
    runner: Runner,
    feeds: Mapping[str, np.ndarray],
    *,
    sampling: Sampling,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time `runner` on `feeds`.

    Args:
        clock: Ends warm-up and sampling; the samples themselves are what the runner reports.
    Raises:
        EngineRunError: A reported time is not a positive number.
    """
    batch = next(iter(feeds.values())).shape[0]
    warmup_passes, per_pass = _warm_up(runner, feeds, sampling, clock)
    samples: list[np.ndarray] = []
    count, start = 0, clock()
    while True:
        step = max(1, min(sampling.min_samples, int(sampling.min_seconds / 4 / per_pass)))
        samples.append(_seconds_of(runner, feeds, step))
        count += step
        elapsed = clock() - start
        enough = elapsed >= sampling.min_seconds and count >= sampling.min_samples
        if enough or elapsed >= sampling.max_seconds:
            break
    return summarize(np.concatenate(samples), batch=batch, warmup_passes=warmup_passes, sampling=sampling)


def summarize(seconds: np.ndarray, *, batch: int, warmup_passes: int, sampling: Sampling) -> Timing:
    """Order statistics of the seconds of each pass."""
    ms = np.sort(np.asarray(seconds, dtype=np.float64)) * 1e3
    p50, p90, p99 = (float(x) for x in np.percentile(ms, (50, 90, 99), method="inverted_cdf"))
    spread = p90 / p50
    noise = ""
    if spread > NOISY_SPREAD:
        noise = f"p90 is {spread:.2f} times the median (quiet: at most {NOISY_SPREAD})"
    elif len(ms) < sampling.min_samples:
        noise = f"{len(ms)} samples in {sampling.max_seconds:g} s, {sampling.min_samples} were wanted"
    return Timing(
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=float(ms.mean()),
        num_samples=len(ms),
        images_per_second=batch / float(ms.mean()) * 1e3,
        spread=spread,
        warmup_passes=warmup_passes,
        noise=noise,
    )


def _warm_up(
    runner: Runner, feeds: Mapping[str, np.ndarray], sampling: Sampling, clock: Callable[[], float]
) -> tuple[int, float]:
    """Run until two rounds agree or the time is up; gives the passes made and the seconds of one pass."""
    start = clock()
    last = float(_seconds_of(runner, feeds, 1)[0])
    passes = 1
    while clock() - start < sampling.max_seconds:
        step = max(1, min(50, int(sampling.min_seconds * _ROUND_SHARE / last)))
        median = float(np.median(_seconds_of(runner, feeds, step)))
        passes += step
        steady = max(median, last) <= _STEADY * min(median, last)
        last = median
        if steady:
            break
    return passes, last


def _seconds_of(runner: Runner, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
    seconds = np.asarray(runner.timed_loop(feeds, iterations), dtype=np.float64)
    if seconds.shape != (iterations,) or not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise EngineRunError(
            f"{runner.info.backend} reported {seconds.tolist()[:3]} ... for {iterations} passes, "
            "expected as many positive times"
        )
    return seconds
