"""The adapter against NVIDIA's own names, and against a stand-in that answers by them."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from resnet_deploy.bench.machine import nvml as module
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.machine.nvml import THROTTLE_REASONS, Nvml, open_nvml
from tests.bench.machine.fake_nvml import FakeNvml


def _called_names() -> set[str]:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    owners = ("n", "module", "pynvml", "_nvml")
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if name in owners:
                found.add(node.attr)
    return found


def test_every_name_is_one_of_nvidias_binding() -> None:
    names = _called_names()
    assert len(names) > 25 and "nvmlDeviceGetTotalEnergyConsumption" in names
    assert not [name for name in names if not hasattr(pynvml, name)]
    assert not [name for name in THROTTLE_REASONS if not hasattr(pynvml, f"nvmlClocksEventReason{name}")]


def test_the_stand_in_answers_every_function_the_adapter_calls() -> None:
    functions = {name for name in _called_names() if name.startswith("nvml")}
    assert functions <= set(FakeNvml().answers)


def test_facts_and_readings_come_in_the_units_they_say() -> None:
    nvml = Nvml(FakeNvml())
    (gpu,) = nvml.handles()
    found, reading = nvml.gpu(gpu), nvml.read(gpu)
    assert (nvml.driver, nvml.cuda) == ("580.65.06", "13.1")
    assert (found.name, found.memory_mib, found.power_limit_w) == ("NVIDIA L4", 23034, 72.0)
    assert (found.persistence_mode, found.ecc, found.compute_mode) == ("on", "off", "exclusive process")
    assert (found.sm_clock_mhz, found.max_sm_clock_mhz) == (2040, 2100)
    assert (reading.power_w, reading.temperature_c, reading.utilization_percent) == (70.5, 55, 97)
    assert nvml.joules(gpu) == 1000.0


def test_throttle_reasons_are_words_and_idling_is_none() -> None:
    mask = (
        pynvml.nvmlClocksEventReasonSwPowerCap
        | pynvml.nvmlClocksEventReasonHwThermalSlowdown
        | pynvml.nvmlClocksEventReasonGpuIdle
        | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
    )
    found = Nvml(FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=mask)).throttled("gpu 0")
    assert found == ("the power limit (SW power cap)", "heat (HW thermal slowdown)")


def test_an_older_driver_is_asked_by_the_older_name() -> None:
    fake = FakeNvml(
        nvmlDeviceGetCurrentClocksEventReasons=None,
        nvmlDeviceGetCurrentClocksThrottleReasons=pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
    )
    assert Nvml(fake).throttled("gpu 0") == ("heat (SW thermal slowdown)",)


def test_what_nvml_does_not_support_is_none_and_no_error() -> None:
    unsupported = {name: None for name in FakeNvml().answers if name.startswith("nvmlDeviceGet")}
    unsupported |= {"nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "gpu 0", "nvmlDeviceGetName": b"Orin"}
    nvml = Nvml(FakeNvml(**unsupported))
    found, reading = nvml.gpu("gpu 0"), nvml.read("gpu 0")
    assert found.name == "Orin" and found.memory_mib is None and found.ecc == "" and found.throttled == ()
    assert (reading.sm_mhz, reading.power_w, reading.utilization_percent) == (None, None, None)
    assert nvml.joules("gpu 0") is None and nvml.processes("gpu 0") is None


def test_of_several_gpus_alike_the_one_with_our_context_is_watched() -> None:
    names = {"a": "NVIDIA L4", "b": "NVIDIA T4", "c": "NVIDIA L4"}
    fake = FakeNvml(
        nvmlDeviceGetCount=3,
        nvmlDeviceGetHandleByIndex=lambda index: "abc"[index],
        nvmlDeviceGetName=names.__getitem__,
        nvmlDeviceGetComputeRunningProcesses=lambda h: [SimpleNamespace(pid=os.getpid())] if h == "c" else [],
    )
    assert Nvml(fake).handle_of("NVIDIA L4") == "c"
    assert Nvml(fake).handle_of("NVIDIA T4") == "b" and Nvml(fake).handle_of("NVIDIA H100") is None
    fake.answers["nvmlDeviceGetComputeRunningProcesses"] = None  # as in some containers
    assert Nvml(fake).handle_of("NVIDIA L4") == "a"


def test_without_the_library_there_is_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert open_nvml() is None and capture_environment().gpus == ()


def test_the_environment_holds_what_nvml_says(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml()
    monkeypatch.setattr("resnet_deploy.bench.machine.environment.open_nvml", lambda: Nvml(fake))
    (gpu,) = capture_environment().gpus
    assert (gpu.name, gpu.driver, gpu.cuda, gpu.memory_mib) == ("NVIDIA L4", "580.65.06", "13.1", 23034)
    assert gpu.compute_mode == "exclusive process" and "nvmlShutdown" in fake.calls
