"""The two NVIDIA products that build and run engines, what each can do, and how each is imported."""

from __future__ import annotations

__all__ = ["PRODUCTS", "Product", "collected_log", "find_product", "import_product", "trt_logger"]

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from resnet_deploy.core.errors import ConfigError, MissingDependencyError


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """One TensorRT product.

    Attributes:
        name: As the command line and manifests spell it.
        module: The Python module.
        install: The command that installs it.
        ahead_of_time: Whether it builds for GPUs that are not in the machine.
    """

    name: str
    module: str
    install: str
    ahead_of_time: bool

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


PRODUCTS = {
    "tensorrt-rtx": Product(
        name="tensorrt-rtx",
        module="tensorrt_rtx",
        install="pip install tensorrt-rtx",
        ahead_of_time=True,
    ),
    "tensorrt": Product(
        name="tensorrt",
        module="tensorrt",
        install="pip install 'resnet-deploy[tensorrt]', with NVIDIA's package index as TensorRT's installation "
        "guide names it",
        ahead_of_time=False,
    ),
}


def find_product(name: str) -> Product:
    """Raises ConfigError for a name that is not in PRODUCTS."""
    if name not in PRODUCTS:
        raise ConfigError(f"unknown product {name!r}", remedy=f"one of {', '.join(PRODUCTS)}")
    return PRODUCTS[name]


def import_product(product: Product) -> ModuleType:
    """Import the product's Python bindings.

    Raises:
        MissingDependencyError: Not installed, or its libraries do not load here.
    """
    try:
        return importlib.import_module(product.module)
    except (ImportError, OSError, RuntimeError) as error:
        state = "can not be loaded" if product.installed else "is not installed"
        raise MissingDependencyError(f"{product.name} {state}: {error}", remedy=product.install) from error


_LOGGERS: dict[str, Any] = {}


def trt_logger(trt: ModuleType) -> Any:
    """The process's one logger for a product; what it hears goes to `collected_log`, never to the terminal.

    TensorRT keeps the first logger it is given for the life of the process and ignores later ones, so there
    must be one only.
    """
    if trt.__name__ not in _LOGGERS:
        warning = trt.ILogger.Severity.WARNING

        class CollectingLogger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.messages: list[tuple[str, str]] = []

            def log(self, severity: Any, message: str) -> None:
                if int(severity) <= int(warning):  # INTERNAL_ERROR 0, ERROR 1, WARNING 2, INFO 3, VERBOSE 4
                    level = "warning" if int(severity) == int(warning) else "error"
                    self.messages.append((level, message.strip()))

        _LOGGERS[trt.__name__] = CollectingLogger()
    return _LOGGERS[trt.__name__]


@contextmanager
def collected_log(trt: ModuleType) -> Iterator[list[tuple[str, str]]]:
    """("warning" or "error", message) of all the product logs inside the block, each once, in order."""
    logger = trt_logger(trt)
    outer, logger.messages = logger.messages, _Distinct()
    try:
        yield logger.messages
    finally:
        logger.messages = outer


class _Distinct(list):
    def append(self, item: tuple[str, str]) -> None:
        if item not in self:
            super().append(item)
