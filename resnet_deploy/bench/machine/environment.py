"""The machine a measurement was made on, as far as it can be read without rights."""

from __future__ import annotations

__all__ = ["Environment", "Gpu", "capture_environment"]

import os
import platform
from dataclasses import dataclass
from importlib import metadata

from resnet_deploy import __version__
from resnet_deploy.bench.machine.nvml import Gpu, open_nvml
from resnet_deploy.bench.machine.processors import CPUS, PROC, own_processors, quota_processors, read_text

_PACKAGES = ("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "tensorrt-rtx", "tensorrt", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What a reader needs to judge or repeat a measurement.

    Attributes:
        num_cpus: Processors this process may use.
        load_1min: Load average when captured; None where the system does not say.
        governor: Of the first processor, e.g. "performance"; empty where it can not be read.
        memory_gib: Of the machine; None where it can not be read.
        available_gib: Memory that was free for a program when captured; None where it can not be read.
        quota_cpus: Processors that a control group allows; None without a limit.
        is_virtual: Whether the processor says that a hypervisor runs below; None where it can not be read.
    """

    cpu: str
    num_cpus: int
    load_1min: float | None
    governor: str
    memory_gib: float | None
    system: str
    python: str
    packages: dict[str, str]
    gpus: tuple[Gpu, ...]
    available_gib: float | None = None
    quota_cpus: float | None = None
    is_virtual: bool | None = None

    @property
    def is_busy(self) -> bool:
        """Whether more work was running than there are processors."""
        return self.load_1min is not None and self.load_1min > self.num_cpus


def capture_environment() -> Environment:
    """Read it now; takes no rights and never fails."""
    info = read_text(PROC / "cpuinfo")
    return Environment(
        cpu=_cpu_name(info),
        num_cpus=len(own_processors()),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        governor=read_text(CPUS / "cpu0" / "cpufreq" / "scaling_governor").strip(),
        memory_gib=_memory_gib("MemTotal"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_package_versions(),
        gpus=_gpus(),
        available_gib=_memory_gib("MemAvailable"),
        quota_cpus=quota_processors(),
        is_virtual=_is_virtual(info),
    )


def _cpu_name(info: str) -> str:
    for line in info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _is_virtual(info: str) -> bool | None:
    flags = next((line for line in info.splitlines() if line.startswith("flags")), None)
    return None if flags is None else "hypervisor" in flags.split()


def _memory_gib(key: str) -> float | None:
    for line in read_text(PROC / "meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def _package_versions() -> dict[str, str]:
    found = {"resnet-deploy": __version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> tuple[Gpu, ...]:
    nvml = open_nvml()
    if nvml is None:
        return ()
    try:
        return tuple(nvml.gpu(handle) for handle in nvml.handles())
    finally:
        nvml.close()
