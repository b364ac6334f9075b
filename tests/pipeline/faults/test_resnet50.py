"""The faults that must be found in a ResNet-50: a scale times four in its INT8 form, a perturbed block in FP32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_deploy.data.preprocess import normalize
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint
from resnet_deploy.pipeline.faults.bisection import BisectOptions, bisect
from resnet_deploy.pipeline.faults.divergence import DivergeOptions, diverge
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from tests.reference.faulty_networks import plant, random_images

pytestmark = pytest.mark.slow
SIDE = 224


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random weights, batch norm of its own images, a random classifier of centred features; FP32 and INT8."""
    folder = tmp_path_factory.mktemp("resnet50")
    (folder / "images").mkdir()
    pixels = random_images(16).repeat(7, axis=1).repeat(7, axis=2)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"{place:02}.png")
    spec = find_net("resnet50")
    net = fresh_net(spec, seed=0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    images, features = torch.from_numpy(normalize(pixels, spec.preprocess)), []
    with torch.no_grad():
        net.train()(images)
        net.eval()
        handle = net.fc.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        net(images)
        handle.remove()
        mean, spread = features[0].mean(0), features[0].std(0) + 1e-3
        weight = torch.randn(1000, 2048, generator=torch.Generator().manual_seed(0)) / 45 / spread
        net.fc.weight.copy_(weight)
        net.fc.bias.copy_(-(weight @ mean))
    save_checkpoint(folder / "net.safetensors", net, spec=spec, preprocess=spec.preprocess,
                    labels=tuple(map(str, range(1000))), stage="train", details={}, inputs={}, options={})  # fmt: skip
    onnx = export_onnx(ExportOptions(checkpoint=folder / "net.safetensors")).file
    calibrate(CalibrateOptions(onnx=onnx, data=str(folder / "images"), num_images=16, method="max"))
    quantize_onnx(QuantizeOptions(onnx=onnx))
    plant(folder / "net.int8.onnx", folder / "weight.onnx", layer3__2__conv2__weight__scale=lambda s: 4 * s)
    plant(folder / "net.int8.onnx", folder / "activation.onnx", layer3__2__relu__scale=lambda s: 4 * s)
    rng = np.random.default_rng(0)
    noisy = {
        f"layer2__3__conv{i}__weight": lambda w: w + 0.5 * w.std() * rng.standard_normal(w.shape) for i in (1, 2, 3)
    }
    plant(folder / "net.fp32.onnx", folder / "block.onnx", **noisy)
    return folder


@pytest.mark.parametrize(
    ("candidate", "faults"),
    [
        ("net.int8.onnx", []),
        ("weight.onnx", ["layer3.2.conv2"]),
        ("activation.onnx", ["layer3.2.conv2"]),
        ("block.onnx", ["layer2.3.conv1", "layer2.3.conv2", "layer2.3.conv3"]),
    ],
)
def test_diverge_names_the_layers_at_fault_and_no_other(folder, candidate, faults) -> None:
    options = DivergeOptions(
        reference=folder / "net.fp32.onnx", candidate=folder / candidate, data=str(folder / "images"), num_images=3
    )
    assert [layer.layer for layer in diverge(options).at_fault] == faults


@pytest.mark.parametrize(
    ("candidate", "limit", "block"), [("weight.onnx", 0.5, "layer3.2"), ("block.onnx", 0.99, "layer2.3")]
)
def test_bisect_names_the_block(folder, candidate, limit, block) -> None:
    options = BisectOptions(
        reference=folder / "net.fp32.onnx", candidate=folder / candidate, data=str(folder / "images"), limit=limit
    )
    found = bisect(options)
    assert found.met and found.blocks == (block,) and found.num_evaluations <= 30
