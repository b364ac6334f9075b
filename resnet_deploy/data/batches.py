"""Batches of network inputs, decoded and preprocessed ahead by threads."""

from __future__ import annotations

__all__ = ["Batch", "count_batches", "input_batches", "paired_batches"]

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.workers import num_processors

_AHEAD = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images of a source, in its order.

    Attributes:
        images: [N, 3, H, W] float32, preprocessed.
        labels: [N] int64, -1 where not known.
        indices: [N] int64, places in the source; consecutive but for images that were left out.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


def count_batches(source: ImageSource, batch_size: int) -> int:
    """How many batches `input_batches` gives where no image is bad; the last may be smaller."""
    return -(-len(source) // batch_size)


def input_batches(
    source: ImageSource, spec: Preprocess, *, batch_size: int, num_threads: int = 0, bad: BadImages | None = None
) -> Iterator[Batch]:
    """All images of `source` in order, `batch_size` at a time; memory is bounded by a few batches.

    Threads, not processes: Pillow decodes and resizes without Python's lock.

    Args:
        num_threads: Decoding threads; 0 takes the number of processors.
        bad: Takes note of images that can not be used, which are left out, so that their batch is smaller (a
            batch of none is not given); None allows none.
    Raises:
        DataError: More images than `bad` allows can not be used; names them.
    """
    return (batch for (batch,) in _batches(source, (spec,), batch_size, num_threads, bad))


def paired_batches(
    source: ImageSource,
    specs: tuple[Preprocess, Preprocess],
    *,
    batch_size: int,
    num_threads: int = 0,
    bad: BadImages | None = None,
) -> Iterator[tuple[Batch, Batch]]:
    """As `input_batches`, every image decoded once and preprocessed by two rules; the two hold the same images."""
    if specs[0] == specs[1]:
        return (
            (batch, batch)
            for batch in input_batches(source, specs[0], batch_size=batch_size, num_threads=num_threads, bad=bad)
        )
    return _batches(source, specs, batch_size, num_threads, bad)


def _batches(
    source: ImageSource, specs: Sequence[Preprocess], batch_size: int, num_threads: int, bad: BadImages | None
) -> Iterator[tuple[Batch, ...]]:
    bad = BadImages() if bad is None else bad
    with ThreadPoolExecutor(num_threads or num_processors()) as pool:
        waiting: deque = deque()
        try:
            for start in range(0, len(source), batch_size):
                indices = range(start, min(start + batch_size, len(source)))
                waiting.append((indices, [pool.submit(_pixels, source, specs, i) for i in indices]))
                if len(waiting) > _AHEAD:
                    yield from _finish(*waiting.popleft(), source, specs, bad)
            while waiting:
                yield from _finish(*waiting.popleft(), source, specs, bad)
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _pixels(source: ImageSource, specs: Sequence[Preprocess], index: int) -> tuple[np.ndarray, ...] | BadImage:
    name = source.name(index)
    try:
        image = source.image(index)
        return tuple(crop_pixels(image, spec, name=name) for spec in specs)
    except DataError as error:
        return BadImage.of(index, name, error)


def _finish(
    indices: range, futures: list, source: ImageSource, specs: Sequence[Preprocess], bad: BadImages
) -> Iterator[tuple[Batch, ...]]:
    """The batch, or nothing where every image of it is bad."""
    found = [future.result() for future in futures]
    bad.take(result for result in found if isinstance(result, BadImage))
    places = np.array([i for i, r in zip(indices, found, strict=True) if not isinstance(r, BadImage)], dtype=np.int64)
    crops = [result for result in found if not isinstance(result, BadImage)]
    if crops:
        yield tuple(
            Batch(
                images=normalize(np.stack([images[which] for images in crops]), spec),
                labels=source.labels[places],
                indices=places,
            )
            for which, spec in enumerate(specs)
        )
