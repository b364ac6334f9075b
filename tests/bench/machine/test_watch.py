from __future__ import annotations

import itertools
import os
import time
from types import SimpleNamespace

import pynvml
import pytest

from resnet_deploy.bench.machine import watch as module
from resnet_deploy.bench.machine.nvml import Nvml
from resnet_deploy.bench.machine.watch import Watch
from tests.bench.machine.fake_nvml import FakeNvml


def _watched(watch: Watch, seconds: float = 0.02):
    watch.begin()
    time.sleep(seconds)
    watch.between()
    watch.end()
    return watch.conditions


def test_a_gpu_is_read_by_a_thread_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.002)
    energy, clocks = itertools.count(1_000_000, 5_000), itertools.cycle([1800, 1500])
    kind = {pynvml.NVML_CLOCK_SM: lambda: next(clocks), pynvml.NVML_CLOCK_MEM: lambda: 6251}
    fake = FakeNvml(
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(energy),
        nvmlDeviceGetClockInfo=lambda _, which: kind[which](),
        nvmlDeviceGetCurrentClocksEventReasons=pynvml.nvmlClocksEventReasonSwPowerCap,
        nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=1)],
    )
    trace = _watched(Watch(nvml=Nvml(fake), device="NVIDIA L4"), 0.05).gpu
    assert trace.name == "NVIDIA L4" and trace.num_readings >= 3
    assert (trace.sm_mhz_lowest, trace.sm_mhz_highest, trace.memory_mhz_lowest) == (1500, 1800, 6251)
    assert trace.throttled == {"the power limit (SW power cap)": 1.0} and trace.num_other_processes == 1
    assert trace.joules == pytest.approx(5.0) and trace.power_w_mean == pytest.approx(70.5)
    calls = len(fake.calls)
    time.sleep(0.02)
    assert len(fake.calls) == calls  # the thread has ended


def test_our_own_context_is_no_other_process_even_under_another_number() -> None:
    fake = FakeNvml(nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=4711)])  # as a container sees it
    assert _watched(Watch(nvml=Nvml(fake), device="NVIDIA L4")).gpu.num_other_processes == 0


def test_a_row_on_the_processor_asks_no_gpu() -> None:
    fake = FakeNvml()
    found = _watched(Watch(nvml=Nvml(fake), device="cpu"))
    assert found.gpu is None and "nvmlDeviceGetClockInfo" not in fake.calls
    assert found.processors.seconds >= 0.02 and found.package_joules is None or found.package_joules >= 0


def test_nothing_is_known_before_the_end() -> None:
    assert Watch().conditions is None
