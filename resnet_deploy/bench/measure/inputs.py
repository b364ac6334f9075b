"""What a network is timed on: images of the right shape, whatever they show."""

from __future__ import annotations

__all__ = ["input_of"]

import numpy as np

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.contract import Runner


def input_of(
    runner: Runner, manifest: Manifest | None, *, batch: int, size_px: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    """Standard normal inputs, what preprocessing gives on average; the same on every call.

    Args:
        size_px: Height and width of the images, where the network takes any; None takes the manifest's.
    Raises:
        ConfigError: The network has several inputs, or the size is missing or does not fit.
    """
    if len(runner.info.inputs) != 1:
        raise ConfigError(f"{runner.info.file} has {len(runner.info.inputs)} inputs, a classifier has one")
    spec = runner.info.inputs[0]
    shape = spec.shape[1:]
    if not all(_is_size(side) for side in shape) and manifest and manifest.preprocess and size_px is None:
        shape = manifest.preprocess.input_shape
    if size_px is not None:
        if len(shape) != 3 or any(_is_size(a) and a != b for a, b in zip(shape[1:], size_px, strict=True)):
            raise ConfigError(
                f"{runner.info.file}: input {spec.name} is {list(spec.shape)}, --size says {size_px[0]}x{size_px[1]}",
                remedy="leave --size away: it is for files that take images of any size",
            )
        shape = (shape[0], *size_px)
    if not all(_is_size(side) for side in shape):
        raise ConfigError(
            f"{runner.info.file}: the size of input {spec.name} is not known ({list(spec.shape)})",
            remedy="say it with --size 224, or --size 480x640 (height x width)",
        )
    rng = np.random.default_rng(0)
    return {spec.name: rng.standard_normal((batch, *shape), dtype=np.float32).astype(spec.dtype, copy=False)}


def _is_size(side: int | str) -> bool:
    return isinstance(side, int) and side > 0
