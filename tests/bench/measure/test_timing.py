from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from resnet_deploy.bench.measure.timing import Sampling, measure, summarize
from resnet_deploy.bench.measure.warmup import WarmUp
from resnet_deploy.core.errors import ConfigError, EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo

_FEEDS = {"images": np.zeros((4, 3, 8, 8), dtype=np.float32)}
_WARM = WarmUp(passes=1, seconds=0.1, steady=True, rule="")


class ScriptedRunner:
    """Reports the time that `seconds_of(pass number)` says, and lets a clock of its own go on by it."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        spec = TensorSpec(name="images", dtype="float32", shape=("N", 3, 8, 8))
        self.info = RunnerInfo(backend="scripted", version="1", device="cpu", file="x", inputs=(spec,), outputs=())
        self.passes, self.now, self._seconds_of = 0, 0.0, seconds_of

    def timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        seconds = np.array([self._seconds_of(self.passes + i) for i in range(iterations)])
        self.passes += iterations
        self.now += float(seconds.sum())
        return seconds

    def clock(self) -> float:
        return self.now


class Steps:
    """What a watch is told, with the number of passes made by then."""

    def __init__(self) -> None:
        self.runner: ScriptedRunner | None = None
        self.told: list[tuple[str, int]] = []

    def begin(self) -> None:
        self.told.append(("begin", self.runner.passes))

    def between(self) -> None:
        self.told.append(("between", self.runner.passes))

    def end(self) -> None:
        self.told.append(("end", self.runner.passes))


def _measure(seconds_of, watch=None, **sampling):
    runner = ScriptedRunner(seconds_of)
    watch = watch or Steps()
    watch.runner = runner
    return runner, measure(runner, _FEEDS, sampling=Sampling(**sampling), clock=runner.clock, watch=watch)


def test_slow_first_passes_are_warm_up_and_in_no_sample() -> None:
    # 100 ms, falling by a quarter with each pass to 10 ms: warm-up ends only where three rounds agree to 5 %.
    _, timing = _measure(lambda i: max(0.010, 0.1 * 0.75**i), min_seconds=1.0, min_samples=20, max_seconds=5)
    assert timing.p99_ms == pytest.approx(10) and timing.warmup.passes >= 8 and timing.noise == ""
    assert timing.warmup.steady


def test_throughput_counts_images_not_passes() -> None:
    _, timing = _measure(lambda i: 0.020)
    assert timing.batch == 4 and timing.images_per_second == pytest.approx(200) and timing.spread == pytest.approx(1)


def test_throughput_counts_all_workers_and_its_interval_is_that_of_the_mean() -> None:
    seconds = 0.02 + 0.001 * np.random.default_rng(0).random(200)
    one, two = (summarize(seconds, batch=4, warmup=_WARM, sampling=Sampling(), workers=workers) for workers in (1, 2))
    assert two.images_per_second == pytest.approx(2 * one.images_per_second) and two.p50_ms == one.p50_ms
    assert one.images_per_second_interval == pytest.approx([4e3 / bound for bound in reversed(one.mean_interval_ms)])
    low, high = one.images_per_second_interval
    assert low < one.images_per_second < high


def test_sampling_ends_when_time_and_number_are_reached() -> None:
    runner, timing = _measure(lambda i: 0.010, min_seconds=1.0, min_samples=5, max_seconds=10)
    assert 100 <= timing.num_samples <= 130 and runner.passes == timing.num_samples + timing.warmup.passes


def test_many_samples_are_taken_where_they_are_asked_for() -> None:
    _, timing = _measure(lambda i: 0.010, min_seconds=0.1, min_samples=300, max_seconds=10)
    assert 300 <= timing.num_samples <= 310


def test_a_slow_network_ends_at_the_limit_and_says_that_samples_are_few() -> None:
    runner, timing = _measure(lambda i: 3.0, min_seconds=1.0, min_samples=10, max_seconds=8)
    assert 1 <= timing.num_samples < 10 and runner.now <= 8 + 3 + 8 + 3  # each limit may be overrun by one pass
    assert "10 were wanted" in timing.noise


def test_the_watch_is_told_after_warm_up_between_chunks_and_at_the_end() -> None:
    watch = Steps()
    runner, timing = _measure(lambda i: 0.010, watch, min_seconds=1.0)
    assert watch.told[0] == ("begin", timing.warmup.passes) and watch.told[-1] == ("end", runner.passes)
    assert [what for what, _ in watch.told].count("between") >= 5


def test_order_statistics_are_measured_values() -> None:
    seconds = np.arange(1, 101) / 1000  # 1 .. 100 ms: the k-th percentile is exactly k ms
    timing = summarize(seconds[::-1], batch=1, warmup=_WARM, sampling=Sampling())
    assert (timing.p50_ms, timing.p90_ms, timing.p95_ms, timing.p99_ms) == pytest.approx((50, 90, 95, 99))
    assert timing.mean_ms == pytest.approx(50.5) and timing.images_per_second == pytest.approx(1e3 / 50.5)
    assert timing.variation == pytest.approx(np.std(np.arange(1, 101), ddof=1) / 50.5)


def test_what_a_later_comparison_needs_is_kept_in_order() -> None:
    seconds = np.repeat(np.arange(1, 21), 50) / 1000
    timing = summarize(seconds, batch=1, warmup=_WARM, sampling=Sampling())
    assert timing.block_medians_ms == pytest.approx(range(1, 21))
    assert timing.drift.change == pytest.approx(17 / 4 - 1) and timing.drift.p_value < 1e-6


def test_one_sample_has_no_interval_and_no_drift() -> None:
    timing = summarize([0.01], batch=1, warmup=_WARM, sampling=Sampling())
    assert (timing.p50_interval_ms, timing.mean_interval_ms, timing.drift, timing.noise_floor) == (None,) * 4
    assert timing.variation == 0.0 and timing.block_medians_ms == pytest.approx((10.0,))


def test_a_scattered_row_is_called_noisy_with_its_numbers() -> None:
    _, timing = _measure(lambda i: 0.010 if i % 5 else 0.020, min_seconds=1, min_samples=20)
    assert timing.spread == pytest.approx(2) and "2.00 times the median" in timing.noise


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_impossible_times_are_refused(wrong: float) -> None:
    with pytest.raises(EngineRunError, match="scripted"):
        _measure(lambda i: wrong)


def test_sampling_that_can_not_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_seconds 5"):
        Sampling(min_seconds=5, max_seconds=1)
