"""Batches of network inputs, decoded and preprocessed ahead by threads."""

from __future__ import annotations

__all__ = ["Batch", "count_batches", "input_batches", "load_pixels"]

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource

_AHEAD = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Consecutive images of a source.

    Attributes:
        images: [N, 3, H, W] float32, preprocessed.
        labels: [N] int64, -1 where not known.
        start: Index of the first one in the source.
    """

    images: np.ndarray
    labels: np.ndarray
    start: int


def count_batches(source: ImageSource, batch_size: int) -> int:
    """How many batches `input_batches` gives; the last may be smaller."""
    return -(-len(source) // batch_size)


def input_batches(source: ImageSource, spec: Preprocess, *, batch_size: int, num_threads: int = 0) -> Iterator[Batch]:
    """All images of `source` in order, `batch_size` at a time; memory is bounded by a few batches.

    Args:
        num_threads: Decoding threads; 0 takes the number of processors.
    Raises:
        DataError: An image can not be used; names it.
    """
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        waiting: deque = deque()
        try:
            for start in range(0, len(source), batch_size):
                stop = min(start + batch_size, len(source))
                waiting.append((start, [pool.submit(_pixels, source, spec, i) for i in range(start, stop)]))
                if len(waiting) > _AHEAD:
                    yield _finish(*waiting.popleft(), source, spec)
            while waiting:
                yield _finish(*waiting.popleft(), source, spec)
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def load_pixels(
    source: ImageSource, spec: Preprocess, *, num_threads: int = 0, progress: Progress = NO_PROGRESS
) -> np.ndarray:
    """Every image resized and cropped but not normalised: [N, height_px, width_px, 3] uint8, in memory."""
    pixels = np.empty((len(source), spec.height_px, spec.width_px, 3), dtype=np.uint8)
    progress.start(f"decoding {source.description}", len(source))

    def fill(index: int) -> None:
        pixels[index] = _pixels(source, spec, index)

    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        for _ in pool.map(fill, range(len(source))):
            progress.advance()
    return pixels


def _pixels(source: ImageSource, spec: Preprocess, index: int) -> np.ndarray:
    return crop_pixels(source.image(index), spec, name=source.name(index))


def _finish(start: int, futures: list, source: ImageSource, spec: Preprocess) -> Batch:
    pixels = np.stack([future.result() for future in futures])
    return Batch(images=normalize(pixels, spec), labels=source.labels[start : start + len(futures)], start=start)
