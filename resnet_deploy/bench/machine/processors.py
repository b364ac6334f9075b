"""Where the processors' time goes and how fast they run, from Linux' own counters; elsewhere the answer is None."""

from __future__ import annotations

__all__ = ["ProcessorReading", "mean_mhz", "own_processors", "read_processors", "use_between"]

import os
import time
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.bench.machine.conditions import ProcessorUse

PROC = Path("/proc")
CPUS = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")

_MOST_CLOCKS = 8  # whose clock is read: each costs some microseconds
_IDLE, _IOWAIT, _STEAL, _GUEST = 3, 4, 7, 8  # columns of a line of /proc/stat, see proc(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorReading:
    """Counters at one moment; ticks are None where the system has none."""

    wall: float
    own_seconds: float
    busy_ticks: int | None
    steal_ticks: int | None
    quota_stops: int | None


def own_processors() -> list[int]:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def read_processors() -> ProcessorReading:
    """Read the counters now, of the processors that this process may use; takes about 0.1 ms."""
    busy, steal = _ticks(own_processors())
    return ProcessorReading(
        wall=time.perf_counter(),
        own_seconds=time.process_time(),
        busy_ticks=busy,
        steal_ticks=steal,
        quota_stops=_quota_stops(),
    )


def use_between(
    before: ProcessorReading, after: ProcessorReading, clocks_mhz: list[float | None] | None = None
) -> ProcessorUse:
    """Shares of the time between two readings.

    Args:
        clocks_mhz: Readings of the clock, the first before the samples, the last after them.
    """
    num, wall = len(own_processors()), max(after.wall - before.wall, 1e-9)
    own = after.own_seconds - before.own_seconds
    tick = 1 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
    other = steal = None
    if before.busy_ticks is not None and after.busy_ticks is not None:
        other = max(0.0, (after.busy_ticks - before.busy_ticks) * tick - own) / (wall * num)
    if before.steal_ticks is not None and after.steal_ticks is not None:
        steal = (after.steal_ticks - before.steal_ticks) * tick / (wall * num)
    stops = None
    if before.quota_stops is not None and after.quota_stops is not None:
        stops = after.quota_stops - before.quota_stops
    clocks = clocks_mhz or [None]
    during = [mhz for mhz in clocks[1:-1] if mhz is not None]
    return ProcessorUse(
        seconds=wall,
        own_share=own / (wall * num),
        other_share=other,
        steal_share=steal,
        tick_seconds=tick,
        quota_stops=stops,
        mhz_before=clocks[0],
        mhz_after=clocks[-1],
        mhz_lowest=min(during, default=None),
        mhz_highest=max(during, default=None),
    )


def mean_mhz() -> float | None:
    """Mean clock of (at most eight of) the processors that this process may use; None where it can not be read."""
    found = []
    for number in own_processors()[:_MOST_CLOCKS]:
        text = read_text(CPUS / f"cpu{number}" / "cpufreq" / "scaling_cur_freq")
        if text.strip().isdecimal():
            found.append(int(text) / 1e3)
    return sum(found) / len(found) if found else None


def quota_processors() -> float | None:
    """Processors that a control group (version 2) allows, e.g. 1.5; None without such a limit."""
    words = read_text(CGROUP / "cpu.max").split()
    if len(words) != 2 or not words[0].isdecimal():
        return None
    return int(words[0]) / int(words[1])


def read_text(file: Path) -> str:
    """A file of the system; empty where it is missing or may not be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ticks(numbers: list[int]) -> tuple[int | None, int | None]:
    """Busy and stolen ticks of these processors; a guest's time is in its host's user time already."""
    wanted = {f"cpu{number}" for number in numbers}
    busy = steal = 0
    seen = False
    for line in read_text(PROC / "stat").splitlines():
        name, *words = line.split()
        if not name.startswith("cpu"):
            break
        if name in wanted and len(words) > _STEAL:
            columns = [int(word) for word in words[:_GUEST]]
            busy += sum(columns) - columns[_IDLE] - columns[_IOWAIT] - columns[_STEAL]
            steal += columns[_STEAL]
            seen = True
    return (busy, steal) if seen else (None, None)


def _quota_stops() -> int | None:
    for line in read_text(CGROUP / "cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled":
            return int(value)
    return None
