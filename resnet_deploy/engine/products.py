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
_LEVELS = ("error", "error", "warning", "info")  # of ILogger.Severity: INTERNAL_ERROR 0, ERROR 1, WARNING 2, INFO 3


def trt_logger(trt: ModuleType) -> Any:
    """The process's one logger for a product; what it hears goes to `collected_log`, never to the terminal.

    TensorRT keeps the first logger it is given for the life of the process and ignores later ones, so there
    must be one only.
    """
    if trt.__name__ not in _LOGGERS:

        class CollectingLogger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.listeners: dict[int, _Collected] = {}  # by identity; threads add and remove their own

            def log(self, severity: Any, message: str) -> None:
                level = _LEVELS[int(severity)] if int(severity) < len(_LEVELS) else "verbose"
                for listener in list(self.listeners.values()):
                    listener.hear(level, message.strip())

        _LOGGERS[trt.__name__] = CollectingLogger()
    return _LOGGERS[trt.__name__]


@contextmanager
def collected_log(trt: ModuleType, *, with_info: bool = False) -> Iterator[list[tuple[str, str]]]:
    """("error" or "warning", message) of all the product logs inside the block, each once, in order.

    Blocks may be nested and may overlap in several threads; each hears everything.

    Args:
        with_info: Its progress reports too, as ("info", message).
    """
    listeners = trt_logger(trt).listeners
    heard = _Collected({"error", "warning", "info"} if with_info else {"error", "warning"})
    listeners[id(heard)] = heard
    try:
        yield heard
    finally:
        del listeners[id(heard)]


class _Collected(list):
    """(level, message), each pair once, in order."""

    def __init__(self, levels: set[str]) -> None:
        super().__init__()
        self._levels = levels

    def hear(self, level: str, message: str) -> None:
        if level in self._levels and (level, message) not in self:
            self.append((level, message))
