from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from resnet_deploy.nets.features import Features
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate


@pytest.fixture(scope="session")
def _chain(tmp_path_factory) -> Path:
    pytest.importorskip("sklearn", reason="the bundled digits need scikit-learn")
    folder = tmp_path_factory.mktemp("chain")
    source = stratified_sample(open_images("digits", split="train"), 400, seed=0)
    pixels = np.stack([crop_pixels(source.image(i), DIGITS_PREPROCESS, name="") for i in range(len(source))])
    net = _fitted(torch.from_numpy(normalize(pixels, DIGITS_PREPROCESS)), source.labels)
    save_checkpoint(
        folder / "net.safetensors",
        net,
        spec=find_net("resnet8"),
        preprocess=DIGITS_PREPROCESS,
        labels=source.classes,
        stage="train",
        inputs={},
        options={},
        details={"weights": "trained"},
    )
    onnx = export_onnx(ExportOptions(checkpoint=folder / "net.safetensors")).file
    calibrate(CalibrateOptions(onnx=onnx, data="digits", num_images=32, num_threads=1, method="max"))
    return folder


@pytest.fixture
def chain(_chain: Path, tmp_path: Path) -> Path:
    """Folder of the test's own with net.safetensors, net.fp32.onnx and net.calib.json, each with its manifest.

    resnet8 with random convolutions and a classifier fitted to the digits: right far more often than not.
    """
    shutil.copytree(_chain, tmp_path, dirs_exist_ok=True)
    return tmp_path


def _fitted(images: torch.Tensor, labels: np.ndarray) -> torch.nn.Module:
    """The classifier by ridge regression from the pooled features of the images to their classes."""
    net = fresh_net(find_net("resnet8"), seed=0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(images)  # batch norm takes these images' statistics
        features = Features(net.eval())(images).double().numpy()
        features = np.hstack([features, np.ones((len(features), 1))])
        spread = np.square(features).mean() * len(features) * 1e-6
        wanted = 10 * np.eye(10)[labels]
        solution = np.linalg.solve(features.T @ features + spread * np.eye(features.shape[1]), features.T @ wanted)
        net.fc.weight.copy_(torch.from_numpy(solution[:-1].T))
        net.fc.bias.copy_(torch.from_numpy(solution[-1]))
    return net
