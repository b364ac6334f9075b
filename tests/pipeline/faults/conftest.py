from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import write_onnx
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from tests.reference.faulty_networks import TINY_PIXELS, random_images, tiny_bottleneck


@pytest.fixture(scope="session")
def _chain(tmp_path_factory) -> Path:
    """A small bottleneck network: net.fp32.onnx, net.int8.onnx, the table between them, and 64 images."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "images").mkdir()
    for place, image in enumerate(random_images(64)):
        Image.fromarray(image).save(folder / "images" / f"{place:02}.png")
    file = folder / "net.fp32.onnx"
    write_onnx(tiny_bottleneck(), file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        net=NetRecord(name="resnet50", num_classes=10),
        preprocess=TINY_PIXELS,
        labels=tuple(map(str, range(10))),
        precision=Precision.FP32,
    )
    images = str(folder / "images")
    calibrate(CalibrateOptions(onnx=file, data=images, num_images=64, num_threads=1, method="max"))
    quantize_onnx(QuantizeOptions(onnx=file))
    return folder


@pytest.fixture
def chain(_chain: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    shutil.copytree(_chain, tmp_path, dirs_exist_ok=True)
    return tmp_path
