"""All images of a source, decoded once and kept as pixels."""

from __future__ import annotations

__all__ = ["decode_crops"]

import numpy as np

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode_ahead import decode_ahead
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.data.source import ImageSource

_BATCH = 32


def decode_crops(
    source: ImageSource, preprocess: Preprocess, *, num_threads: int = 0, progress: Progress = NO_PROGRESS
) -> np.ndarray:
    """[N, H, W, 3] uint8 of all images after resize and crop: a quarter of the memory of network inputs.

    Raises:
        DataError: An image can not be used; names it.
    """
    crops = np.empty((len(source), preprocess.height_px, preprocess.width_px, 3), np.uint8)
    progress.start(f"decode {source.description}", len(source))
    for places, batch in decode_ahead(
        source,
        lambda image, name: crop_pixels(image, preprocess, name=name),
        batch_size=_BATCH,
        num_threads=num_threads,
    ):
        crops[places] = batch
        progress.advance(len(batch))
    return crops
