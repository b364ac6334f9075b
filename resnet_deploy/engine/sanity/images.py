"""Images that no network may stumble over: legal for the preprocessing, extreme, and all different."""

from __future__ import annotations

__all__ = ["SanityImages", "legal_images"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.specs import Preprocess, TensorSpec

_ASSUMED_MEAN, _ASSUMED_STD = 0.5, 0.25
"""Where nobody says the preprocessing: between ImageNet's (0.45, 0.22) and plain +-1 (0.5, 0.5)."""
_NUM_NOISE, _NUM_BLOBS = 3, 8
_BLOB_CELLS = 4  # a 4 x 4 grid of random colours, enlarged: what the coarse layers of a network tell apart


@dataclass(frozen=True, kw_only=True, slots=True)
class SanityImages:
    """Network inputs and what each shows.

    Attributes:
        names: One a row, e.g. "all white".
        rows: [P, ...] as the network's input wants them.
    """

    names: tuple[str, ...]
    rows: np.ndarray


def legal_images(
    spec: TensorSpec, *, height_px: int, width_px: int, preprocess: Preprocess | None, seed: int
) -> SanityImages:
    """Extremes, patterns, noise and random blobs of colour, as pixels 0..255 that are then preprocessed.

    All black and all white give the smallest and the largest value that preprocessing can give in every channel. An
    integer input gets the pixels as they are; [N, H, W, C] is told by its last axis.

    Args:
        spec: The network's input, of rank 4.
        preprocess: None takes (pixel / 255 - 0.5) / 0.25.
    """
    channels_last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    wanted = spec.shape[3] if channels_last else spec.shape[1]
    channels = wanted if isinstance(wanted, int) and wanted > 0 else 3
    pictures = _pictures(channels, height_px, width_px, np.random.default_rng(seed))
    pixels = np.stack(list(pictures.values()))
    if np.dtype(spec.dtype).kind == "f":
        known = preprocess is not None and channels == 3
        mean = np.float32(preprocess.mean if known else (_ASSUMED_MEAN,) * channels).reshape(-1, 1, 1)
        std = np.float32(preprocess.std if known else (_ASSUMED_STD,) * channels).reshape(-1, 1, 1)
        rows = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    else:
        rows = pixels
    if channels_last:
        rows = np.moveaxis(rows, 1, -1)
    return SanityImages(names=tuple(pictures), rows=np.ascontiguousarray(rows.astype(spec.dtype, copy=False)))


def _pictures(channels: int, height: int, width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Name -> [C, H, W] uint8."""
    shape = (channels, height, width)
    ys, xs = np.mgrid[:height, :width]

    def plane(plane: np.ndarray) -> np.ndarray:
        return np.broadcast_to(plane.astype(np.uint8), shape).copy()

    def one_channel(channel: int) -> np.ndarray:
        picture = np.zeros(shape, np.uint8)
        picture[channel] = 255
        return picture

    def blobs() -> np.ndarray:
        coarse = rng.integers(0, 256, (channels, _BLOB_CELLS, _BLOB_CELLS), np.uint8)
        return coarse[:, ys * _BLOB_CELLS // height, xs * _BLOB_CELLS // width]

    pictures: dict[str, np.ndarray] = {"all black": plane(0 * xs), "all white": plane(255 + 0 * xs)}
    pictures |= {f"channel {c} saturated": one_channel(c) for c in range(channels)}
    pictures |= {f"all but channel {c} saturated": 255 - one_channel(c) for c in range(channels) if channels > 1}
    pictures["checkerboard of single pixels"] = plane((ys + xs) % 2 * 255)
    pictures["checkerboard of eighths"] = plane((ys * 8 // height + xs * 8 // width) % 2 * 255)
    pictures["black left, white right"] = plane((xs * 2 >= width) * 255)
    pictures["dark to light"] = plane(ys * 255 // max(height - 1, 1))
    pictures["one white pixel"] = plane(((ys == height // 2) & (xs == width // 2)) * 255)
    makers: list[tuple[str, int, Callable[[], np.ndarray]]] = [
        ("noise", _NUM_NOISE, lambda: rng.integers(0, 256, shape, np.uint8)),
        ("noise of black and white", 1, lambda: (rng.integers(0, 2, shape) * 255).astype(np.uint8)),
        ("random blobs", _NUM_BLOBS, blobs),
    ]
    for name, count, make in makers:
        for index in range(count):
            pictures[f"{name} {index}"] = make()
    return pictures
