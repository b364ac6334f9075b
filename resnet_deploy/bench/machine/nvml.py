"""What NVML, NVIDIA's management library, says of a GPU; the one place that calls it."""

from __future__ import annotations

__all__ = ["Gpu", "GpuReading", "Nvml", "open_nvml"]

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

THROTTLE_REASONS = {
    "SwPowerCap": "the power limit (SW power cap)",
    "HwSlowdown": "a hardware slowdown (heat, power brake or a fast power draw)",
    "SyncBoost": "another GPU of its sync boost group",
    "SwThermalSlowdown": "heat (SW thermal slowdown)",
    "HwThermalSlowdown": "heat (HW thermal slowdown)",
    "HwPowerBrakeSlowdown": "the power supply's brake (HW power brake)",
    "DisplayClockSetting": "the clock of a display",
}
"""Name in NVML after `nvmlClocksEventReason` -> what held the clock down. Idling, and clocks that were set on purpose
(ApplicationsClocksSetting, UserDefinedClocks), are no fault of a measurement and left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as NVML describes it; clock and throttling are those at the time of the call.

    None, or an empty text, where NVML does not say.

    Attributes:
        driver: Version of the driver.
        cuda: Newest CUDA that the driver runs.
        sm_clock_mhz, max_sm_clock_mhz: Now, and the largest it allows.
        persistence_mode, ecc: "on" or "off".
        compute_mode: "default", "exclusive process" or "prohibited".
        throttled: What held the clock down, in words.
    """

    name: str
    driver: str
    memory_mib: int | None = None
    sm_clock_mhz: int | None = None
    cuda: str = ""
    max_sm_clock_mhz: int | None = None
    power_limit_w: float | None = None
    persistence_mode: str = ""
    compute_mode: str = ""
    ecc: str = ""
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuReading:
    """A GPU at one moment. None: NVML does not say."""

    sm_mhz: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    utilization_percent: int | None
    throttled: tuple[str, ...]


class Nvml:
    """The library, initialised; every question it can not answer gives None.

    Args:
        module: `pynvml`, or what stands in for it in a test.
    """

    def __init__(self, module: ModuleType | Any) -> None:
        self._nvml = module
        module.nvmlInit()

    def close(self) -> None:
        """Release the library; it counts its users."""
        self._ask(self._nvml.nvmlShutdown)

    @property
    def driver(self) -> str:
        """Version of the driver, e.g. "580.65.06"."""
        return _text(self._ask(self._nvml.nvmlSystemGetDriverVersion))

    @property
    def cuda(self) -> str:
        """Newest CUDA that the driver runs, e.g. "13.0"."""
        version = self._ask(self._nvml.nvmlSystemGetCudaDriverVersion)
        return f"{version // 1000}.{version % 1000 // 10}" if version else ""

    def handles(self) -> list[Any]:
        """One for each GPU, in NVML's order (by bus address, whatever CUDA_VISIBLE_DEVICES says)."""
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        found = [self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
        return [handle for handle in found if handle is not None]

    def name(self, handle: Any) -> str:
        """As CUDA names it too."""
        return _text(self._ask(self._nvml.nvmlDeviceGetName, handle))

    def gpu(self, handle: Any) -> Gpu:
        """Properties and settings."""
        n = self._nvml
        memory = self._ask(n.nvmlDeviceGetMemoryInfo, handle)
        limit = self._ask(n.nvmlDeviceGetEnforcedPowerLimit, handle)
        persistence = self._ask(n.nvmlDeviceGetPersistenceMode, handle)
        ecc = self._ask(n.nvmlDeviceGetEccMode, handle)
        compute = self._ask(n.nvmlDeviceGetComputeMode, handle)
        modes = {
            n.NVML_COMPUTEMODE_DEFAULT: "default",
            n.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
            n.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive process",
        }
        return Gpu(
            name=self.name(handle),
            driver=self.driver,
            cuda=self.cuda,
            memory_mib=None if memory is None else int(memory.total) // 2**20,
            sm_clock_mhz=self._ask(n.nvmlDeviceGetClockInfo, handle, n.NVML_CLOCK_SM),
            max_sm_clock_mhz=self._ask(n.nvmlDeviceGetMaxClockInfo, handle, n.NVML_CLOCK_SM),
            power_limit_w=None if limit is None else limit / 1e3,
            persistence_mode=_on_off(persistence, n.NVML_FEATURE_ENABLED),
            compute_mode="" if compute is None else modes.get(compute, str(compute)),
            ecc=_on_off(ecc[0] if ecc else None, n.NVML_FEATURE_ENABLED),
            throttled=self.throttled(handle),
        )

    def read(self, handle: Any) -> GpuReading:
        """Clocks, temperature, power, use and throttling now."""
        n = self._nvml
        power = self._ask(n.nvmlDeviceGetPowerUsage, handle)
        use = self._ask(n.nvmlDeviceGetUtilizationRates, handle)
        return GpuReading(
            sm_mhz=self._ask(n.nvmlDeviceGetClockInfo, handle, n.NVML_CLOCK_SM),
            memory_mhz=self._ask(n.nvmlDeviceGetClockInfo, handle, n.NVML_CLOCK_MEM),
            temperature_c=self._ask(n.nvmlDeviceGetTemperature, handle, n.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1e3,
            utilization_percent=None if use is None else int(use.gpu),
            throttled=self.throttled(handle),
        )

    def throttled(self, handle: Any) -> tuple[str, ...]:
        """What holds the clock down now, in words; see THROTTLE_REASONS."""
        n = self._nvml
        # drivers before release 535 know the older name only
        mask = self._ask(n.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if mask is None:
            mask = self._ask(n.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return tuple(words for name, words in THROTTLE_REASONS.items() if (mask or 0) & _bit(n, name))

    def joules(self, handle: Any) -> float | None:
        """Energy since the driver was loaded; None before Volta and on most Jetsons."""
        millijoules = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return None if millijoules is None else millijoules / 1e3

    def processes(self, handle: Any) -> set[int] | None:
        """Process ids that hold a compute or graphics context; in a container often none can be seen."""
        n = self._nvml
        lists = [
            self._ask(ask, handle)
            for ask in (n.nvmlDeviceGetComputeRunningProcesses, n.nvmlDeviceGetGraphicsRunningProcesses)
        ]
        if all(entries is None for entries in lists):
            return None
        return {int(entry.pid) for entries in lists for entry in entries or ()}

    def handle_of(self, device: str) -> Any | None:
        """The GPU that a runner's device name means: of several alike the one that this process holds a context on."""
        alike = [handle for handle in self.handles() if self.name(handle) in device or device in self.name(handle)]
        mine = [handle for handle in alike if os.getpid() in (self.processes(handle) or ())]
        return next(iter(mine or alike), None)

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None


def open_nvml() -> Nvml | None:
    """NVML, or None where the package, the driver or its library is missing."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        return Nvml(pynvml)
    except pynvml.NVMLError:
        return None


def _bit(module: Any, name: str) -> int:
    """The older names lack what is newer than they are; releases of the binding before 12.535 have only those."""
    return getattr(module, f"nvmlClocksEventReason{name}", 0) or getattr(module, f"nvmlClocksThrottleReason{name}", 0)


def _on_off(value: int | None, enabled: int) -> str:
    return "" if value is None else "on" if value == enabled else "off"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
