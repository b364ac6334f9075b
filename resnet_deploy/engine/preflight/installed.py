"""Which release of an NVIDIA product is installed, found without importing its Python bindings."""

from __future__ import annotations

__all__ = ["InstalledProduct", "find_installed", "probe_library"]

import ctypes
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from resnet_deploy.core.errors import ConfigError

_DISTRIBUTIONS = {
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_cu13", "tensorrt_rtx_cu12"),
    "tensorrt": ("tensorrt", "tensorrt_cu13", "tensorrt_cu12"),
}
_LIBRARIES = {  # as the loader finds them where a C++ application alone is installed
    "tensorrt-rtx": ("libtensorrt_rtx.so.1",),
    "tensorrt": ("libnvinfer.so.11", "libnvinfer.so.10"),
}
_VERSION_PARTS = ("Major", "Minor", "Patch", "Build")


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledProduct:
    """One installation of a product.

    Attributes:
        product: "tensorrt" or "tensorrt-rtx".
        version: E.g. "1.7.1.116".
        source: "Python package", or the library's name or path.
        cuda_major: The CUDA it was made for; None where nothing says so.
    """

    product: str
    version: str
    source: str
    cuda_major: int | None = None


def find_installed(product: str) -> tuple[InstalledProduct, ...]:
    """The product's Python package, and its libraries on the loader's path; empty where there is neither.

    The versions of packages are read from their metadata. A library that is found is loaded to be asked (tens of
    milliseconds), nothing in it is started.
    """
    found = []
    versions = {name: _version(name) for name in _DISTRIBUTIONS[product]}
    if version := next((text for text in versions.values() if text), None):
        major = next((int(name[-2:]) for name, text in versions.items() if text and name[-2:].isdigit()), None)
        found.append(InstalledProduct(product=product, version=version, source="Python package", cuda_major=major))
    for library in _LIBRARIES[product]:
        if version := _library_version(library):
            found.append(InstalledProduct(product=product, version=version, source=library))
    return tuple(found)


def probe_library(library: Path) -> InstalledProduct:
    """Ask a library file which product and version it is.

    Raises:
        ConfigError: It can not be loaded, or is no TensorRT library.
    """
    version = _library_version(str(Path(library).resolve())) if Path(library).is_file() else None
    if version is None:
        problem = "is no TensorRT library that loads here" if Path(library).is_file() else "no such file"
        raise ConfigError(f"library {library}: {problem}", remedy="name libtensorrt_rtx.so.* or libnvinfer.so.*")
    # Major versions tell the products apart whatever the file is called: TensorRT-RTX counts from 1, TensorRT from 10.
    product = "tensorrt-rtx" if int(version.split(".")[0]) < 5 else "tensorrt"
    return InstalledProduct(product=product, version=version, source=str(library))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _library_version(name: str) -> str | None:
    try:
        library = ctypes.CDLL(name)
        return ".".join(str(getattr(library, f"getInferLib{part}Version")()) for part in _VERSION_PARTS)
    except (OSError, AttributeError):  # not there, made for another machine, or not this kind of library
        return None
