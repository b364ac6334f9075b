"""Small checkpoints whose BN is not the identity, made without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import save_checkpoint

DIGIT_NAMES = tuple(str(i) for i in range(10))


def lively_net(name: str, *, num_classes: int = 10) -> nn.Module:
    """A net whose every BN has a gamma, a beta and statistics of its own, as after training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net(find_net(name), num_classes=num_classes)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.4, 1.6)
                nn.init.uniform_(module.bias, -0.5, 0.5)
        with torch.no_grad():
            for _ in range(8):
                net.train()(torch.randn(8, 3, 32, 32))
    return net.eval()


@pytest.fixture
def save_net(tmp_path: Path) -> Callable[..., Path]:
    """Write a net as a checkpoint on digits."""
    pytest.importorskip("sklearn", reason="the bundled digits need scikit-learn")

    def save(
        name: str = "resnet8",
        *,
        file: str | None = None,
        labels: tuple[str, ...] = DIGIT_NAMES,
        change: Callable[[nn.Module], object] = lambda net: None,
    ) -> Path:
        path = tmp_path / (file or f"{name}.safetensors")
        net = lively_net(name, num_classes=len(labels))
        change(net)
        save_checkpoint(
            path,
            net,
            spec=find_net(name),
            preprocess=DIGITS_PREPROCESS,
            labels=labels,
            stage="train",
            inputs={},
            options={},
            details={},
        )
        return path

    return save


def assert_drawn(picture: Path, *, size: tuple[int, int]) -> None:
    """The PNG has that width and height and holds coloured lines, not only axes."""
    image = Image.open(picture)
    assert image.format == "PNG" and image.size == size
    pixels = np.asarray(image.convert("RGB")).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2)) > 60
    assert coloured.sum() > 200, "nothing but axes"
