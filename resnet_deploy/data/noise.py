"""Random images, for measurements in which accuracy has no part (latency of an untrained network)."""

from __future__ import annotations

__all__ = ["NoiseSource"]

import numpy as np

from resnet_deploy.core.files import sha256_of_bytes

_NUM_IMAGES = 64
_SIDE_PX = 256


class NoiseSource:
    """64 images of 256 x 256 px made of random 8 px squares, the same on every machine; without labels."""

    description = "noise"
    classes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.labels = np.full(_NUM_IMAGES, -1, dtype=np.int64)

    def __len__(self) -> int:
        return _NUM_IMAGES

    def image(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, size=(_SIDE_PX // 8, _SIDE_PX // 8, 3), dtype=np.uint8)
        return coarse.repeat(8, axis=0).repeat(8, axis=1)

    def name(self, index: int) -> str:
        return f"noise[{index}]"

    def fingerprint(self) -> str:
        return sha256_of_bytes(f"noise/1 {_NUM_IMAGES} {_SIDE_PX}".encode())
