"""A benchmark is fair only if a candidate does nothing while it is not its turn, and if its failures are seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


def count_steps(*, file: Path, step_done: Callable[[], None]) -> None:
    while True:
        with open(file, "a") as stream:
            stream.write(".")
        step_done()


def fail_at_once(*, step_done: Callable[[], None]) -> None:
    raise SystemExit(7)


@pytest.fixture
def candidate(tmp_path):
    from taking_turns import Candidate

    made = Candidate("counter", count_steps, {"file": tmp_path / "steps"}, lead_in=2, steps=3)
    yield made
    made.close()


def test_a_turn_gives_its_timed_steps_and_the_loop_stands_still_after_it(candidate, tmp_path):
    done = [(tmp_path / "steps").stat().st_size]
    for _ in range(2):
        assert len(candidate.turn()) == 3
        done.append((tmp_path / "steps").stat().st_size)
    time.sleep(0.2)
    assert done == [5, 10, 15]  # 2 of lead-in and 3 timed in each
    assert (tmp_path / "steps").stat().st_size == 15


def test_times_lie_between_steps_and_leave_the_lead_in_out(monkeypatch):
    import taking_turns

    clock = iter([10.0, 11.0, 13.0, 16.0])
    monkeypatch.setattr(taking_turns.time, "perf_counter", lambda: next(clock))
    turns = taking_turns.Turns(None, lead_in=2, steps=2)
    handed_over: list[list[float]] = []
    monkeypatch.setattr(turns, "wait", handed_over.append)
    for _ in range(4):
        turns.step_done()
    assert handed_over == [[2000.0, 3000.0]]  # 11 to 13 to 16 seconds; the step from 10 to 11 is lead-in


def test_a_candidate_that_fails_ends_the_benchmark_by_name():
    from taking_turns import Candidate

    with pytest.raises(SystemExit, match="broken loop ended with exit code 7"):
        Candidate("broken loop", fail_at_once, {}, lead_in=1, steps=1)
