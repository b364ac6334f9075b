from __future__ import annotations

import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.preflight import installed
from resnet_deploy.engine.preflight.installed import InstalledProduct, find_installed, probe_library

PARTS = ("Major", "Minor", "Patch", "Build")


@pytest.fixture
def library(tmp_path: Path):
    """library("10.13.3.9") -> a shared library that says so, as NVIDIA's do."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")

    def make(version: str, name: str = "libnvinfer.so.10") -> Path:
        numbers = zip(PARTS, version.split("."), strict=False)
        source = "".join(f"int getInferLib{part}Version(void) {{ return {number}; }}\n" for part, number in numbers)
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / name], input=source, text=True, check=True
        )
        return tmp_path / name

    return make


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch):
    """packages({"tensorrt": "10.13.3.9"}) makes these the only distributions."""

    def install(versions: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(installed.metadata, "version", version)

    return install


def test_the_python_package_tells_version_and_cuda(packages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_LIBRARIES", {"tensorrt": ("libno_such_library.so",)})
    packages({"tensorrt": "10.13.3.9", "tensorrt_cu12": "10.13.3.9"})
    assert find_installed("tensorrt") == (
        InstalledProduct(product="tensorrt", version="10.13.3.9", source="Python package", cuda_major=12),
    )
    packages({"tensorrt_cu13": "11.0.0.114"})
    assert [(one.version, one.cuda_major) for one in find_installed("tensorrt")] == [("11.0.0.114", 13)]
    packages({})
    assert find_installed("tensorrt") == ()


def test_a_library_without_a_package_is_found(packages, library, monkeypatch: pytest.MonkeyPatch) -> None:
    packages({})
    file = str(library("10.3.0.30"))
    monkeypatch.setattr(installed, "_LIBRARIES", {"tensorrt": (file,)})
    assert find_installed("tensorrt") == (InstalledProduct(product="tensorrt", version="10.3.0.30", source=file),)


def test_a_library_tells_its_product_whatever_its_name(library) -> None:
    assert probe_library(library("1.7.1.116", "app_backend.so")).product == "tensorrt-rtx"
    assert probe_library(library("11.0.0.114", "other_backend.so")).product == "tensorrt"


def test_the_real_library_agrees_with_the_python_package(rtx) -> None:
    libraries = pytest.importorskip("tensorrt_rtx_libs")
    (file,) = Path(libraries.__path__[0]).glob("libtensorrt_rtx.so.*")
    assert probe_library(file) == InstalledProduct(
        product="tensorrt-rtx", version=rtx.__version__, source=str(file), cuda_major=None
    )
    assert find_installed("tensorrt-rtx")[0].version == rtx.__version__


def test_what_is_no_such_library_is_refused(tmp_path: Path, library) -> None:
    text = tmp_path / "libnvinfer.so"
    text.write_text("no library")
    for file, says in (
        (text, "is no TensorRT library"),
        (library("10.3", "libhalf.so"), "is no TensorRT library"),
        (tmp_path / "gone.so", "no such file"),
    ):
        with pytest.raises(ConfigError, match=says):
            probe_library(file)
