from __future__ import annotations

import time
from pathlib import Path

import pytest

from resnet_deploy.bench.machine import processors
from resnet_deploy.bench.machine.processors import (
    ProcessorReading,
    mean_mhz,
    own_processors,
    quota_processors,
    read_processors,
    use_between,
)

_STAT = """cpu  999 0 0 0 0 0 0 0 0 0
cpu0 100 10 20 500 5 1 2 7 50 0
cpu1 200 0 30 400 5 0 0 3 0 0
cpu2 900 0 0 0 0 0 0 9 0 0
intr 1
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of three processors of which two are ours."""
    for name in ("PROC", "CPUS", "CGROUP"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(processors, name, folder)
    monkeypatch.setattr(processors, "own_processors", lambda: [0, 1])
    (tmp_path / "PROC" / "stat").write_text(_STAT)
    return tmp_path


def _reading(wall: float, own: float, busy: int | None, steal: int | None, stops: int | None = None):
    return ProcessorReading(wall=wall, own_seconds=own, busy_ticks=busy, steal_ticks=steal, quota_stops=stops)


def test_busy_and_stolen_ticks_are_those_of_our_processors_without_idling_and_guests(system: Path) -> None:
    found = read_processors()
    assert (found.busy_ticks, found.steal_ticks) == (100 + 10 + 20 + 1 + 2 + 200 + 30, 7 + 3)
    (system / "PROC" / "stat").unlink()
    assert (read_processors().busy_ticks, read_processors().steal_ticks) == (None, None)


def test_shares_are_of_the_time_of_all_our_processors(system: Path) -> None:
    use = use_between(
        _reading(10.0, 1.0, 100, 10, 3), _reading(12.0, 3.0, 340, 30, 5), [3000.0, 2900.0, 2800.0, 2950.0]
    )
    assert use.seconds == 2.0 and use.own_share == pytest.approx(0.5)  # 2 s of 2 x 2 s
    assert use.other_share == pytest.approx((2.4 - 2.0) / 4) and use.steal_share == pytest.approx(0.2 / 4)
    assert use.quota_stops == 2
    assert (use.mhz_before, use.mhz_lowest, use.mhz_highest, use.mhz_after) == (3000.0, 2800.0, 2900.0, 2950.0)


def test_what_is_not_counted_is_none(system: Path) -> None:
    use = use_between(_reading(0.0, 0.0, None, None), _reading(1.0, 0.5, None, None))
    assert (use.other_share, use.steal_share, use.quota_stops, use.mhz_lowest, use.mhz_before) == (None,) * 5


def test_clock_and_quota_are_read_in_their_own_units(system: Path) -> None:
    assert mean_mhz() is None and quota_processors() is None
    for number, khz in enumerate((2_400_000, 2_600_000)):
        folder = system / "CPUS" / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    (system / "CGROUP" / "cpu.max").write_text("150000 100000\n")
    (system / "CGROUP" / "cpu.stat").write_text("usage_usec 5\nnr_periods 9\nnr_throttled 4\n")
    assert mean_mhz() == pytest.approx(2500) and quota_processors() == 1.5
    assert read_processors().quota_stops == 4
    (system / "CGROUP" / "cpu.max").write_text("max 100000\n")
    assert quota_processors() is None


def test_work_of_this_process_is_seen_as_its_own() -> None:
    before, until = read_processors(), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    use = use_between(before, read_processors())
    assert use.own_share * use.seconds * len(own_processors()) == pytest.approx(0.1, abs=0.02)
