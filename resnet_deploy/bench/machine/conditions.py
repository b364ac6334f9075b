"""What the machine did while one row was measured: shares of processor time, clocks, the GPU's own account."""

from __future__ import annotations

__all__ = ["Conditions", "GpuTrace", "ProcessorUse"]

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorUse:
    """Where the time of the processors that this process may use went. Shares are of `seconds` times their number.

    Attributes:
        seconds: Wall time.
        own_share: Used by this process.
        other_share: Used by anything else, the kernel's own work included; None where the system does not say.
        steal_share: That a hypervisor gave to other virtual machines; None where the system does not say.
        tick_seconds: The system counts the last two in steps of this size.
        quota_stops: Times that a control group's quota stopped this process; None without such a quota.
        mhz_before, mhz_after: Mean clock before and after; None where it can not be read.
        mhz_lowest, mhz_highest: Of the readings between samples.
    """

    seconds: float
    own_share: float
    other_share: float | None
    steal_share: float | None
    tick_seconds: float
    quota_stops: int | None = None
    mhz_before: float | None = None
    mhz_after: float | None = None
    mhz_lowest: float | None = None
    mhz_highest: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuTrace:
    """What NVML said of the GPU while samples were taken, about twenty times a second. None: it did not say.

    Attributes:
        name: Of the GPU that was watched.
        num_readings: Times it was asked.
        utilization_percent: Mean share of the time in which a kernel ran.
        throttled: Reason, in words, -> share of the readings in which it held; idling and set clocks are left out.
        num_other_processes: Largest number of other processes that held a compute or graphics context.
        joules: Difference of the board's energy counter; None where it has none.
    """

    name: str
    num_readings: int
    sm_mhz_lowest: int | None = None
    sm_mhz_median: int | None = None
    sm_mhz_highest: int | None = None
    memory_mhz_lowest: int | None = None
    memory_mhz_highest: int | None = None
    temperature_c_highest: int | None = None
    power_w_mean: float | None = None
    power_w_highest: float | None = None
    utilization_percent: float | None = None
    throttled: dict[str, float] = field(default_factory=dict)
    num_other_processes: int | None = None
    joules: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Of one row, from its first sample to its last; the warm-up is left out.

    Attributes:
        gpu: None where the row ran on the processor, or where NVML is missing.
        package_joules: Of the processor packages by RAPL, whatever ran on them; None where it can not be read.
    """

    processors: ProcessorUse
    gpu: GpuTrace | None = None
    package_joules: float | None = None
