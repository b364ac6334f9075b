"""The benchmark of `bench`: what is planted is there, the other work is, and the report says what was asked."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np


class _Waiter:
    """Passes of 2 ms."""

    def timed_loop(self, feeds: dict, iterations: int) -> np.ndarray:
        start = time.perf_counter()
        while time.perf_counter() - start < 0.002 * iterations:
            pass
        return np.full(iterations, 0.002)


def test_planted_work_lasts_as_long_as_it_says_and_is_really_done() -> None:
    from bench_method import slowed

    start = time.perf_counter()
    seconds = slowed(_Waiter(), {}, 0.5)(5)
    assert (seconds >= 0.003).all() and time.perf_counter() - start >= 5 * 0.003
    assert (slowed(_Waiter(), {}, 0.0)(3) == 0.002).all()


def test_other_work_runs_on_every_processor_and_ends() -> None:
    from bench_method import other_work

    with other_work():
        assert len(multiprocessing.active_children()) >= 1
        assert all(child.is_alive() for child in multiprocessing.active_children())
    assert not multiprocessing.active_children()


def test_the_report_says_what_was_asked_and_what_came_out(capsys) -> None:
    from bench_method import rounded, show

    row = {
        "planted_percent": 0.0, "comparisons": 50, "differences": 3, "no_difference": 47, "ratio_median": 1.0,
        "interval_holds_the_truth": 48, "noise_floor_median": 0.01, "half_width_median": 0.01,
    }  # fmt: skip
    part = {"rows": 5, "valid": 0, "p50_ms": 1.0, "reasons": ["steal"], "run_reasons": []}
    ratio = {"mean": 1.03, "low": 1.02, "high": 1.04, "confidence": 0.99}
    bare = {"bench_p50_ms": 1.03, "bare_p50_ms": 1.0, "ratio": ratio, "within": False}
    show({"bare_loop": bare, "comparisons": [row], "validity": {"busy": part}})
    said = capsys.readouterr().out
    assert "within 2 %: not reached" in said and "94 in 100 no difference; asked: 95: not reached" in said
    assert "busy: 0 of 5 rows valid" in said and "steal" in said
    assert rounded({"a": [1.23456789]}) == {"a": [1.235]}
