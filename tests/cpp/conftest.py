"""Where the built C++ SDK is, and what the tests that drive it from Python give it to run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.ship.golden import golden_pixels

REPOSITORY = Path(__file__).resolve().parents[2]


def not_here(what: str) -> None:
    """Skip, or fail where RESNET_DEPLOY_REQUIRE_CPP=1 says that it must be there."""
    if os.environ.get("RESNET_DEPLOY_REQUIRE_CPP") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The folder with libresnet_deploy.so and its backends: of RESNET_DEPLOY_CPP_BUILD, or of `make cpp`."""
    build = Path(os.environ.get("RESNET_DEPLOY_CPP_BUILD", REPOSITORY / "build" / "cpp"))
    for folder in (build, build / "lib"):
        if (folder / "libresnet_deploy.so").exists():
            return folder
    return not_here(f"no libresnet_deploy.so in {build} or its lib folder; run: make cpp")


@pytest.fixture(scope="session")
def cpp_programs(cpp_build: Path) -> Path:
    """The folder with the example programs, and an OpenVINO backend for them to run on."""
    folder = cpp_build.parent / "bin"
    if not (folder / "classify").exists():
        not_here(f"no example programs in {folder}; run: make cpp")
    if not (cpp_build / "libresnet_deploy_openvino.so").exists():
        not_here("the openvino backend was not built; run: make cpp, with OpenVINO's Python package installed")
    return folder


@pytest.fixture(scope="session")
def openvino_libraries() -> Mapping[str, str]:
    """Environment in which an installed backend finds the libraries of OpenVINO's Python package."""
    spec = importlib.util.find_spec("openvino")
    if spec is None:
        not_here("OpenVINO is not installed")
    return {**os.environ, "LD_LIBRARY_PATH": str(Path(spec.submodule_search_locations[0]) / "libs")}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained resnet20, as ONNX."""
    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
    from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle

    folder = tmp_path_factory.mktemp("bundle")
    export_onnx(ExportOptions(net="resnet20", out=folder / "resnet20.fp32.onnx"))
    return make_bundle(BundleOptions(files=(folder / "resnet20.fp32.onnx",), out=folder / "resnet20.bundle")).file


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three made-up photographs: JPEG, grayscale JPEG, PNG."""
    folder = tmp_path_factory.mktemp("photos")
    images = [Image.fromarray(golden_pixels(60 + 20 * i, 90 - 10 * i, seed=i)) for i in range(3)]
    images[1] = images[1].convert("L")
    files = [folder / name for name in ("a.jpg", "gray.jpg", "c.png")]
    for image, file in zip(images, files, strict=True):
        image.save(file, **({"quality": 95} if file.suffix == ".jpg" else {}))
    return files


def expected_best(bundle: Path, image: np.ndarray) -> tuple[int, float]:
    """Most probable class of uint8 [H, W, 3] RGB and its probability, by ONNX Runtime from Python."""
    import onnxruntime

    from resnet_deploy.data.preprocess import preprocess
    from resnet_deploy.ship.manifest_file import read_bundle_manifest

    spec = read_bundle_manifest(bundle)[0].preprocess
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    feed = preprocess(image, spec)[None]
    logits = session.run(None, {session.get_inputs()[0].name: feed})[0][0].astype(np.float64)
    weights = np.exp(logits - logits.max())
    return int(logits.argmax()), float(weights.max() / weights.sum())
