"""The mean image that the paper subtracts: one mean for every pixel and channel of the network's input.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3.4 ("per-pixel mean subtracted").
"""

from __future__ import annotations

__all__ = ["mean_image_of_cache", "mean_image_of_source"]

from contextlib import closing

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.pixel_cache import PixelCache
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.data.source import ImageSource, stratified_sample
from resnet_deploy.data.workers import map_in_processes

_CHUNK_BYTES = 8 << 20
_TASK_IMAGES = 32


def mean_image_of_cache(cache: PixelCache) -> np.ndarray:
    """Mean of all images of a cache: [H, W, 3] float64, 0 to 255.

    The sum is of integers, so it is exact and does not depend on how it is cut into chunks; memory is two chunks.

    Raises:
        DataError: The cache holds no image.
    """
    step = max(1, _CHUNK_BYTES // int(np.prod(cache.shape)))
    total = np.zeros(cache.shape, dtype=np.int64)
    for start in range(0, len(cache), step):
        total += cache.read(np.arange(start, min(start + step, len(cache)))).sum(axis=0, dtype=np.int64)
    return _mean(total, len(cache), str(cache.file))


def mean_image_of_source(
    source: ImageSource,
    preprocess: Preprocess,
    *,
    count: int,
    seed: int = 0,
    num_workers: int = 0,
    bad: BadImages | None = None,
    progress: Progress = NO_PROGRESS,
) -> np.ndarray:
    """Mean of a stratified sample of `count` images, resized and cropped: [H, W, 3] float64, 0 to 255.

    The result is the same for any number of workers.

    Args:
        num_workers: Decoding processes; 0 takes one a processor.
        bad: Takes note of images that can not be used; None allows none.
    Raises:
        DataError: More images than `bad` allows can not be used, or none can.
    """
    sample = stratified_sample(source, count, seed=seed)
    collected = BadImages() if bad is None else bad
    shape = (preprocess.height_px, preprocess.width_px, 3)
    total, num_used = np.zeros(shape, dtype=np.int64), 0
    progress.start(f"mean image of {sample.description}", len(sample))

    def sum_of(chunk: range) -> tuple[np.ndarray, int, list[BadImage]]:
        part, found = np.zeros(shape, dtype=np.int64), []
        for index in chunk:
            name = sample.name(index)
            try:
                part += crop_pixels(sample.image(index), preprocess, name=name)
            except DataError as error:
                found.append(BadImage.of(int(sample.indices[index]), name, error))
        return part, len(chunk), found

    chunks = (range(start, min(start + _TASK_IMAGES, len(sample))) for start in range(0, len(sample), _TASK_IMAGES))
    with closing(map_in_processes(sum_of, chunks, num_workers=num_workers)) as parts:  # an error ends the workers
        for part, num_done, found in parts:
            collected.take(found)
            total += part
            num_used += num_done - len(found)
            progress.advance(num_done)
    return _mean(total, num_used, source.description)


def _mean(total: np.ndarray, count: int, where: str) -> np.ndarray:
    if count == 0:
        raise DataError(f"{where}: no image can be used, so there is no mean", remedy="give images that can be decoded")
    return total / count
