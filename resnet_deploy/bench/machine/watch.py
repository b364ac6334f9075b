"""Looks at the machine while a row is measured: the processors between samples, a GPU from a thread of its own."""

from __future__ import annotations

__all__ = ["NO_WATCH", "Watch", "Watcher"]

import statistics
import threading
from collections import Counter
from typing import Any, Protocol

from resnet_deploy.bench.machine.conditions import Conditions, GpuTrace
from resnet_deploy.bench.machine.energy import packages, read_package_joules
from resnet_deploy.bench.machine.nvml import GpuReading, Nvml
from resnet_deploy.bench.machine.processors import mean_mhz, read_processors, use_between

_EVERY_S = 0.05
_MOST_CLOCKS = 64  # readings of the clock kept for one row


class Watcher(Protocol):
    """Is told when samples are taken; nothing of it runs within a pass."""

    def begin(self) -> None:
        """Warm-up is over, samples begin."""

    def between(self) -> None:
        """A chunk of samples is done."""

    def end(self) -> None:
        """The last sample is done."""


class NoWatch:
    """Looks at nothing."""

    def begin(self) -> None: ...

    def between(self) -> None: ...

    def end(self) -> None: ...


NO_WATCH = NoWatch()


class Watch:
    """One row's watch: `begin` after warm-up, `between` two chunks of samples, `end` after the last.

    The processors are looked at between chunks, so that nothing runs beside the samples. A GPU is asked about twenty
    times a second by a thread: the calls leave Python's lock alone, and what is measured runs on the GPU.

    Args:
        nvml: None where there is none.
        device: The runner's; "cpu" watches no GPU.

    Attributes:
        conditions: What was seen; None before `end`.
    """

    def __init__(self, *, nvml: Nvml | None = None, device: str = "cpu") -> None:
        self._nvml, self._device = nvml, device
        self._packages = packages()
        self._clocks: list[float | None] = []
        self._gpu: _GpuSampler | None = None
        self.conditions: Conditions | None = None

    def begin(self) -> None:
        """Samples begin."""
        self._clocks = [mean_mhz()]
        handle = self._nvml.handle_of(self._device) if self._nvml and self._device != "cpu" else None
        self._gpu = _GpuSampler(self._nvml, handle) if self._nvml and handle is not None else None
        self._joules = read_package_joules(self._packages)[0]
        self._before = read_processors()

    def between(self) -> None:
        """A chunk of samples is done."""
        if len(self._clocks) < _MOST_CLOCKS:
            self._clocks.append(mean_mhz())

    def end(self) -> None:
        """The last sample is done."""
        after = read_processors()
        joules = read_package_joules(self._packages, self._joules)[1]
        trace = self._gpu.stop() if self._gpu else None
        self._clocks += [mean_mhz(), mean_mhz()]  # the last of "during", and "after"
        self.conditions = Conditions(
            processors=use_between(self._before, after, self._clocks),
            gpu=trace,
            package_joules=joules if self._packages else None,
        )


class _GpuSampler:
    def __init__(self, nvml: Nvml, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._readings: list[GpuReading] = []
        self._over = threading.Event()
        self._before = nvml.joules(handle)
        self._thread = threading.Thread(target=self._loop, name="nvml", daemon=True)
        self._thread.start()

    def stop(self) -> GpuTrace:
        after = self._nvml.joules(self._handle)
        self._over.set()
        self._thread.join()
        held = self._nvml.processes(self._handle)
        readings = self._readings
        throttled = Counter(reason for reading in readings for reason in reading.throttled)
        sm, memory = _known(readings, "sm_mhz"), _known(readings, "memory_mhz")
        power, use = _known(readings, "power_w"), _known(readings, "utilization_percent")
        return GpuTrace(
            name=self._nvml.name(self._handle),
            num_readings=len(readings),
            sm_mhz_lowest=min(sm, default=None),
            sm_mhz_median=int(statistics.median(sm)) if sm else None,
            sm_mhz_highest=max(sm, default=None),
            memory_mhz_lowest=min(memory, default=None),
            memory_mhz_highest=max(memory, default=None),
            temperature_c_highest=max(_known(readings, "temperature_c"), default=None),
            power_w_mean=statistics.fmean(power) if power else None,
            power_w_highest=max(power, default=None),
            utilization_percent=statistics.fmean(use) if use else None,
            throttled={reason: count / len(readings) for reason, count in throttled.items()},
            num_other_processes=None if held is None else max(0, len(held) - 1),  # one is ours, whatever its number
            joules=None if after is None or self._before is None else after - self._before,
        )

    def _loop(self) -> None:
        while True:
            self._readings.append(self._nvml.read(self._handle))
            if self._over.wait(_EVERY_S):
                return


def _known(readings: list[GpuReading], name: str) -> list:
    return [value for reading in readings if (value := getattr(reading, name)) is not None]
