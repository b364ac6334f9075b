"""Images of a source decoded ahead by threads, in order, a bounded number of bytes at a time."""

from __future__ import annotations

__all__ = ["Pixels", "decode_ahead"]

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.workers import num_processors

_AHEAD_BYTES = 256 * 2**20
_AHEAD = 3

Pixels = np.ndarray | Sequence[Any]
"""What is cut from one image: an array, or a sequence of such, however deep."""
Cut = TypeVar("Cut", bound="Pixels")


def decode_ahead(
    source: ImageSource,
    cut: Callable[[Image.Image, str], Cut],
    *,
    batch_size: int,
    num_threads: int = 0,
    bad: BadImages | None = None,
) -> Iterator[tuple[np.ndarray, list[Cut]]]:
    """What `cut` makes of every image of `source`, in order, `batch_size` at a time.

    Threads, not processes: Pillow decodes and resizes without Python's lock. Up to three batches are decoded
    ahead, fewer where they are large: memory is bounded by about 256 MiB and two batches.

    Args:
        cut: Takes a decoded image and its name.
        num_threads: 0 takes the number of processors.
        bad: Takes note of images that can not be used, which are left out, so that their batch is smaller (a
            batch of none is not given); None allows none.
    Yields:
        Places in the source, [N] int64, and as many results of `cut`.
    Raises:
        DataError: More images than `bad` allows can not be used; names them.
    """
    bad = BadImages() if bad is None else bad

    def decode(index: int) -> Cut | BadImage:
        name = source.name(index)
        try:
            return cut(source.image(index), name)
        except DataError as error:
            return BadImage.of(index, name, error)

    starts = iter(range(0, len(source), batch_size))
    ahead = 1
    with ThreadPoolExecutor(num_threads or num_processors()) as pool:
        waiting: deque[tuple[range, list[Future]]] = deque()
        try:
            while True:
                while len(waiting) <= ahead and (start := next(starts, None)) is not None:
                    indices = range(start, min(start + batch_size, len(source)))
                    waiting.append((indices, [pool.submit(decode, index) for index in indices]))
                if not waiting:
                    return
                indices, futures = waiting.popleft()
                results = [future.result() for future in futures]
                bad.take(result for result in results if isinstance(result, BadImage))
                good = [(i, r) for i, r in zip(indices, results, strict=True) if not isinstance(r, BadImage)]
                if good:
                    cuts = [result for _, result in good]
                    ahead = max(1, min(_AHEAD, _AHEAD_BYTES // max(1, _num_bytes(cuts))))
                    yield np.array([index for index, _ in good], dtype=np.int64), cuts
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _num_bytes(pixels: Pixels) -> int:
    return pixels.nbytes if isinstance(pixels, np.ndarray) else sum(_num_bytes(part) for part in pixels)
