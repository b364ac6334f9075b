"""Which backends run on this machine, and for the others the reason why not."""

from __future__ import annotations

__all__ = ["BackendStatus", "available_backends"]

import importlib.util
from dataclasses import dataclass
from importlib import metadata

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.products import PRODUCTS, Product, import_product


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendStatus:
    """Whether a backend can run a network here.

    Attributes:
        name: As in `engine.open.BACKENDS`.
        version: None where it is not installed.
        device: Where it would compute: "cpu" or a GPU's name; None where it can not run.
        reason: Why it can not run, e.g. "not run: no CUDA device: ..."; empty where it can.
        install: The command that would help; empty where none would.
    """

    name: str
    available: bool
    version: str | None
    device: str | None
    reason: str
    install: str = ""


def available_backends() -> tuple[BackendStatus, ...]:
    """One status per backend of `engine.open.BACKENDS`, in that order; imports what is installed, runs nothing."""
    return (
        _torch_status(),
        _onnxruntime_status(),
        _cpu_status("openvino"),
        *(_product_status(product) for product in PRODUCTS.values()),
    )


def _torch_status() -> BackendStatus:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return BackendStatus(name="torch", available=True, version=torch.__version__, device=device, reason="")


def _onnxruntime_status() -> BackendStatus:
    status = _cpu_status("onnxruntime")
    gpus = query_cuda_driver().gpus
    if not status.available or not gpus:
        return status
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return status
    return BackendStatus(name="onnxruntime", available=True, version=status.version, device=gpus[0].name, reason="")


def _cpu_status(name: str) -> BackendStatus:
    if importlib.util.find_spec(name) is None:
        return BackendStatus(
            name=name,
            available=False,
            version=None,
            device=None,
            reason="not run: not installed",
            install=f"pip install {name}",
        )
    return BackendStatus(name=name, available=True, version=_version(name), device="cpu", reason="")


def _version(module: str) -> str | None:
    for distribution in (module, f"{module}-gpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _product_status(product: Product) -> BackendStatus:
    version, reason, install = None, "", ""
    try:
        version = import_product(product).__version__
    except MissingDependencyError as error:
        reason = f"not run: {error.message}" if product.installed else "not run: not installed"
        install = product.install
    driver = query_cuda_driver()
    if not reason and not driver.gpus:
        reason = f"not run: {driver.reason}"
    return BackendStatus(
        name=product.name,
        available=not reason,
        version=version,
        device=None if reason else driver.gpus[0].name,
        reason=reason,
        install=install,
    )
