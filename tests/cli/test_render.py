from __future__ import annotations

import pytest

from resnet_deploy.cli import render


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told to move."""
    now = [100.0]
    monkeypatch.setattr(render.time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_after_some_seconds_and_then_one_a_minute(clock, capsys):
    with render.ProgressBar() as progress:
        progress.start("training", 5000)
        for seconds in (10, 30, 30, 59, 70):
            clock[0] += seconds
            progress.advance(100, note="loss 0.5")
        progress.log("halfway")
    lines = capsys.readouterr().err.splitlines()
    told = [f"  {done}/5000 after {seconds} s  loss 0.5" for done, seconds in ((100, 10), (300, 70), (500, 199))]
    assert lines == ["training", *told, "halfway"]


def test_the_other_processes_of_a_job_are_quiet(clock, capsys):
    with render.ProgressBar(quiet=True) as progress:
        progress.start("training", 10)
        clock[0] += 100
        progress.advance(10)
        progress.log("done")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
