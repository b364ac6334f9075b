"""A checkpoint as `train` leaves it, without training."""

from __future__ import annotations

__all__ = ["save_resnet8"]

from pathlib import Path
from typing import Any

from torch import nn

from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint


def save_resnet8(file: Path, *, seed: int = 0, details: dict[str, Any] | None = None) -> nn.Module:
    """Write resnet8 with random weights and ten classes; returns the network."""
    spec = find_net("resnet8")
    net = fresh_net(spec, seed=seed)
    save_checkpoint(
        file,
        net,
        spec=spec,
        preprocess=spec.preprocess,
        labels=tuple("0123456789"),
        stage="train",
        inputs={},
        options={},
        details=details or {},
    )
    return net
