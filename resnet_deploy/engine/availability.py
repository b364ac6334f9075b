"""Which backends run on this machine, and for the others the reason why not."""

from __future__ import annotations

__all__ = ["BackendStatus", "available_backends"]

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.products import PRODUCTS, Product, import_product

_PROVIDER_BACKENDS = ("onnxruntime-cpu", "onnxruntime-cuda", "onnxruntime-tensorrt")


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
        *_torch_statuses(),
        *_onnxruntime_statuses(),
        _cpu_status("openvino"),
        *(_product_status(product) for product in PRODUCTS.values()),
    )


def _torch_statuses() -> Iterator[BackendStatus]:
    import torch

    from resnet_deploy.engine.runners.compiler import why_no_compiler

    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    missing, install = why_no_compiler(on_gpu=on_gpu)
    for name in ("torch", "torch-fp16", "torch-compile", "torch-compile-fp16"):
        if missing and "compile" in name:
            yield _missing(name, torch.__version__, missing, install)
        else:
            yield BackendStatus(name=name, available=True, version=torch.__version__, device=device, reason="")


def _onnxruntime_statuses() -> Iterator[BackendStatus]:
    status = _cpu_status("onnxruntime")
    if not status.available:
        yield from (replace(status, name=name) for name in ("onnxruntime", *_PROVIDER_BACKENDS))
        return
    from resnet_deploy.engine.runners.onnxruntime_providers import why_not

    gpus = query_cuda_driver().gpus
    yield status if why_not("cuda")[0] else replace(status, device=gpus[0].name)
    for name in _PROVIDER_BACKENDS:
        provider = name.removeprefix("onnxruntime-")
        reason, install = why_not(provider)
        if reason:
            yield _missing(name, status.version, reason, install)
        else:
            yield replace(status, name=name, device="cpu" if provider == "cpu" else gpus[0].name)


def _missing(name: str, version: str | None, reason: str, install: str) -> BackendStatus:
    return BackendStatus(
        name=name, available=False, version=version, device=None, reason=f"not run: {reason}", install=install
    )


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
