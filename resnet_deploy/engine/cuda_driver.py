"""What NVIDIA's driver says of this machine, asked through libcuda itself: no toolkit, no torch, no process."""

from __future__ import annotations

__all__ = ["CudaDriver", "Gpu", "query_cuda_driver"]

import ctypes
import functools
import sys
from dataclasses import dataclass

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute of cuda.h


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One CUDA device.

    Attributes:
        compute_capability: E.g. "8.9".
    """

    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaDriver:
    """Attributes:
    version: CUDA version the driver supports, e.g. "13.0"; None where there is no driver.
    reason: Why there is no usable GPU; empty where there is one.
    """

    version: str | None
    gpus: tuple[Gpu, ...]
    reason: str


@functools.lru_cache(maxsize=1)
def query_cuda_driver() -> CudaDriver:
    """Load the driver and list its devices; never raises. The answer is kept for the life of the process."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return CudaDriver(version=None, gpus=(), reason="no CUDA device: NVIDIA's driver is not installed")
    version = ctypes.c_int()
    text = None
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
        text = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if (code := driver.cuInit(0)) != 0:
        return CudaDriver(version=text, gpus=(), reason=f"no CUDA device: the driver's cuInit gives error {code}")
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_gpu(driver, index) for index in range(count.value))
    return CudaDriver(version=text, gpus=gpus, reason="" if gpus else "no CUDA device: the driver lists none")


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major.value}.{minor.value}",
        memory_bytes=total.value,
    )
