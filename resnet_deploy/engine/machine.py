"""What this machine can do for a deployment, and what to install where it can not."""

from __future__ import annotations

__all__ = ["Capability", "Machine", "examine_machine"]

import importlib
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.availability import BackendStatus, available_backends
from resnet_deploy.engine.cuda_driver import Gpu, query_cuda_driver
from resnet_deploy.engine.products import PRODUCTS, import_product

_REQUIRED = {  # module -> distribution
    "torch": "torch",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "safetensors": "safetensors",
    "PIL": "pillow",
    "matplotlib": "matplotlib",
    "cattrs": "cattrs",
    "jinja2": "jinja2",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Capability:
    """One thing a user may want to do here.

    Attributes:
        detail: How it would be done where it can; the reason where it can not.
        install: The command that would help; empty where none would.
    """

    name: str
    available: bool
    detail: str
    install: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Attributes:
    cpu_count: Processors this process may use.
    memory_bytes: Of the machine; None where the system does not say.
    disk_free_bytes: Where the command runs.
    driver_version: CUDA version the GPU driver supports; None without a driver.
    packages: Version of each required package that is here.
    missing: Required packages that are not, or that do not load.
    """

    python: str
    system: str
    cpu_count: int
    memory_bytes: int | None
    disk_free_bytes: int
    driver_version: str | None
    gpus: tuple[Gpu, ...]
    packages: dict[str, str]
    missing: tuple[str, ...]
    backends: tuple[BackendStatus, ...]
    capabilities: tuple[Capability, ...]


def examine_machine() -> Machine:
    """Look at packages, processors, memory, disk and GPUs; imports packages, computes nothing."""
    packages, missing = _required_packages()
    backends = () if missing else available_backends()
    driver = query_cuda_driver()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        driver_version=driver.version,
        gpus=driver.gpus,
        packages=packages,
        missing=missing,
        backends=backends,
        capabilities=() if missing else _capabilities(backends),
    )


def _required_packages() -> tuple[dict[str, str], tuple[str, ...]]:
    found, missing = {}, []
    for module, distribution in _REQUIRED.items():
        try:
            imported = importlib.import_module(module)
        except (ImportError, OSError) as error:
            missing.append(f"{distribution}: {error}")
            continue
        found[distribution] = getattr(imported, "__version__", None) or metadata.version(distribution)
    return found, tuple(missing)


def _capabilities(backends: tuple[BackendStatus, ...]) -> tuple[Capability, ...]:
    status = {backend.name: backend for backend in backends}
    return (
        Capability(name="train and export", available=True, detail=f"PyTorch on {status['torch'].device}"),
        Capability(name="calibrate and quantize", available=True, detail="ONNX Runtime and NumPy"),
        _demo_data(),
        _building("tensorrt-rtx"),
        _building("tensorrt"),
        *(_running(backend) for backend in backends),
    )


def _demo_data() -> Capability:
    here = importlib.util.find_spec("sklearn") is not None
    return Capability(
        name="use the bundled digits",
        available=here,
        detail="scikit-learn" if here else "scikit-learn is not installed",
        install="" if here else "pip install 'resnet-deploy[demo]'",
    )


def _building(name: str) -> Capability:
    from resnet_deploy.engine.targets import ahead_of_time_targets

    product, driver = PRODUCTS[name], query_cuda_driver()
    title = f"build engines with {name}"
    try:
        trt = import_product(product)
    except MissingDependencyError as error:
        return Capability(name=title, available=False, detail=error.message, install=product.install)
    if product.ahead_of_time:
        targets = " ".join(ahead_of_time_targets(trt))
        return Capability(name=title, available=True, detail=f"{trt.__version__}, without a GPU, for {targets}")
    if not driver.gpus:
        return Capability(name=title, available=False, detail=f"it needs the GPU it builds for; {driver.reason}")
    return Capability(name=title, available=True, detail=f"{trt.__version__} for {driver.gpus[0].name}")


def _running(backend: BackendStatus) -> Capability:
    return Capability(
        name=f"run in {backend.name}",
        available=backend.available,
        detail=f"{backend.version} on {backend.device}" if backend.available else backend.reason,
        install=backend.install,
    )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
