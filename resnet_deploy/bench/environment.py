"""The machine a measurement was made on, as far as it can be read without rights."""

from __future__ import annotations

__all__ = ["Environment", "Gpu", "capture_environment"]

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from resnet_deploy import __version__

_PACKAGES = ("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "tensorrt-rtx", "tensorrt", "numpy")
_GPU_FIELDS = "name,driver_version,memory.total,clocks.sm,clocks_throttle_reasons.active"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi names it; the clock and the throttle mask are those at the time of the call."""

    name: str
    driver: str
    memory_mib: str
    sm_clock_mhz: str
    throttle_mask: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What a reader needs to judge or repeat a measurement.

    Attributes:
        num_cpus: Processors this process may use.
        load_1min: Load average when captured; None where the system does not say.
        governor: Of the first processor, e.g. "performance"; empty where it can not be read.
        memory_gib: Of the machine; None where it can not be read.
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

    @property
    def is_busy(self) -> bool:
        """Whether more work was running than there are processors."""
        return self.load_1min is not None and self.load_1min > self.num_cpus


def capture_environment() -> Environment:
    """Read it now; takes no rights and never fails."""
    affinity = getattr(os, "sched_getaffinity", None)
    return Environment(
        cpu=_cpu_name(),
        num_cpus=len(affinity(0)) if affinity else os.cpu_count() or 1,
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_package_versions(),
        gpus=_gpus(),
    )


def _cpu_name() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemTotal:"):
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
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.splitlines()]
    return tuple(
        Gpu(name=r[0], driver=r[1], memory_mib=r[2], sm_clock_mhz=r[3], throttle_mask=r[4]) for r in rows if len(r) == 5
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
