"""A stand-in for pynvml with one GPU; a name that the real module lacks is refused."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pynvml


class FakeNvml:
    """Answers of a GPU, by the real module's names; None stands for "not supported"."""

    NVMLError = pynvml.NVMLError

    def __init__(self, **answers: object) -> None:
        self.calls: list[str] = []
        self.answers = {
            "nvmlInit": True,
            "nvmlShutdown": True,
            "nvmlSystemGetDriverVersion": "580.65.06",
            "nvmlSystemGetCudaDriverVersion": 13010,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "gpu 0",
            "nvmlDeviceGetName": "NVIDIA L4",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=23034 * 2**20),
            "nvmlDeviceGetEnforcedPowerLimit": 72_000,
            "nvmlDeviceGetPersistenceMode": pynvml.NVML_FEATURE_ENABLED,
            "nvmlDeviceGetEccMode": [pynvml.NVML_FEATURE_DISABLED, pynvml.NVML_FEATURE_DISABLED],
            "nvmlDeviceGetComputeMode": pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
            "nvmlDeviceGetClockInfo": 2040,
            "nvmlDeviceGetMaxClockInfo": 2100,
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetPowerUsage": 70_500,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
            "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonNone,
            "nvmlDeviceGetCurrentClocksThrottleReasons": None,
            "nvmlDeviceGetTotalEnergyConsumption": 1_000_000,
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=os.getpid())],
            "nvmlDeviceGetGraphicsRunningProcesses": [],
            **answers,
        }

    def __getattr__(self, name: str) -> object:
        real = getattr(pynvml, name)  # AttributeError where NVIDIA's binding has no such name
        if not callable(real):
            return real

        def call(*arguments: object) -> object:
            self.calls.append(name)
            answer = self.answers[name]
            answer = answer(*arguments) if callable(answer) else answer
            if answer is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer

        return call
