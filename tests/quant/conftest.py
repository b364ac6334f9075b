from __future__ import annotations

import shutil

import numpy as np
import pytest
from onnx import numpy_helper

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """resnet8 with random weights as an FP32 file with its manifest; tests must not write beside it."""
    return export_onnx(ExportOptions(net="resnet8", out=tmp_path_factory.mktemp("net") / "net.fp32.onnx")).file


@pytest.fixture(scope="session")
def _calibrated(exported, tmp_path_factory):
    onnx_file = tmp_path_factory.mktemp("calibrated") / exported.name
    manifest = read_manifest(exported)
    write_onnx(_deciding(read_onnx(exported), manifest.preprocess), onnx_file)
    write_manifest(
        onnx_file,
        kind="onnx",
        stage=manifest.stage,
        parent=manifest,
        labels=open_images("digits", split="train").classes,
        precision=manifest.precision,
        details=manifest.details,
    )
    calibrate(CalibrateOptions(onnx=onnx_file, data="digits", num_images=8, num_threads=1, method="max"))
    return onnx_file.parent


@pytest.fixture
def calibrated(_calibrated, tmp_path):
    """resnet8 with random convolutions and a classifier fitted to the digits, its manifest and its calibration table.

    In a folder of the test's own. It decides, and decides rightly more often than not, so agreement and loss of top-1
    mean something; training would take a minute.
    """
    shutil.copytree(_calibrated, tmp_path, dirs_exist_ok=True)
    return tmp_path / "net.fp32.onnx"


def _deciding(model, preprocess):
    """The classifier by ridge regression from the pooled features of 400 digits to their classes."""
    source = stratified_sample(open_images("digits", split="train"), 400, seed=0)
    pixels = np.stack([crop_pixels(source.image(i), preprocess, name=source.name(i)) for i in range(len(source))])
    inside = type(model).FromString(model.SerializeToString())
    inside.graph.output[0].name = inside.graph.node[-1].input[0]
    inside.graph.output[0].type.tensor_type.ClearField("shape")
    del inside.graph.node[-1]
    features = open_session(inside).run(None, {"images": normalize(pixels, preprocess)})[0].astype(np.float64)
    features = np.hstack([features, np.ones((len(features), 1))])
    spread = np.square(features).mean() * len(features) * 1e-6
    wanted = 10 * np.eye(10)[source.labels]
    fitted = np.linalg.solve(features.T @ features + spread * np.eye(features.shape[1]), features.T @ wanted)
    index = GraphIndex(model.graph)
    for name, values in zip(model.graph.node[-1].input[1:], (fitted[:-1].T, fitted[-1]), strict=True):
        index.initializer(name).CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return model
