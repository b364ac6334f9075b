"""What a network is timed on: images of the right shape, whatever they show."""

from __future__ import annotations

__all__ = ["input_of"]

import numpy as np

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.engine.contract import Runner
from resnet_deploy.graph.pixel_prefix import takes_pixels

_USUAL_PIXELS = (480, 640)


def input_of(
    runner: Runner, manifest: Manifest | None, *, batch: int, size_px: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    """Standard normal inputs, what preprocessing gives on average, or random pixels; the same on every call.

    Args:
        size_px: Height and width of the images, where the network takes any; None takes the manifest's, and of a network
            that prepares its images itself the size its engine is tuned for, or 480x640.
    Raises:
        ConfigError: The network has several inputs, or the size is missing or does not fit.
    """
    if len(runner.info.inputs) != 1:
        raise ConfigError(f"{runner.info.file} has {len(runner.info.inputs)} inputs, a classifier has one")
    spec = runner.info.inputs[0]
    rng = np.random.default_rng(0)
    if takes_pixels(runner.info.inputs):
        sides = size_px or next((profile.opt[1:3] for profile in runner.info.profiles), _USUAL_PIXELS)
        return {spec.name: rng.integers(0, 256, (batch, *sides, 3), dtype=np.uint8)}
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
    return {spec.name: rng.standard_normal((batch, *shape), dtype=np.float32).astype(spec.dtype, copy=False)}


def _is_size(side: int | str) -> bool:
    return isinstance(side, int) and side > 0
