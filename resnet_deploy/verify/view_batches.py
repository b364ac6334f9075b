"""Images decoded once, ahead, by threads, and cut for every network that looks at them."""

from __future__ import annotations

__all__ = ["CutBatch", "cut_batches"]

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.workers import num_processors
from resnet_deploy.verify.protocols import ViewPlan

_AHEAD_BYTES = 256 * 2**20
_AHEAD = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class CutBatch:
    """Images of a source, in its order, without those that can not be used.

    Attributes:
        labels: [N] int64.
        cuts: Per plan, per image, what `ViewPlan.cut` gave.
    """

    labels: np.ndarray
    cuts: tuple[list[tuple[np.ndarray, ...]], ...]


def cut_batches(
    source: ImageSource, plans: Sequence[ViewPlan], *, batch_size: int, num_threads: int, bad: BadImages
) -> Iterator[CutBatch]:
    """All images of `source` in order, `batch_size` at a time.

    Up to three batches are decoded ahead, fewer where they are large: memory is bounded by about 256 MiB and two
    batches.

    Args:
        num_threads: Decoding threads; 0 takes the number of processors.
        bad: Takes note of images that can not be used.
    Raises:
        DataError: More images than `bad` allows can not be used; names them.
    """
    starts = iter(range(0, len(source), batch_size))
    ahead = 1
    with ThreadPoolExecutor(num_threads or num_processors()) as pool:
        waiting: deque[tuple[range, list[Future]]] = deque()
        try:
            while True:
                while len(waiting) <= ahead and (start := next(starts, None)) is not None:
                    indices = range(start, min(start + batch_size, len(source)))
                    waiting.append((indices, [pool.submit(_cut, source, plans, i) for i in indices]))
                if not waiting:
                    return
                batch = _finish(*waiting.popleft(), source, len(plans), bad)
                if batch is not None:
                    ahead = max(1, min(_AHEAD, _AHEAD_BYTES // _num_bytes(batch)))
                    yield batch
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _cut(source: ImageSource, plans: Sequence[ViewPlan], index: int) -> list[tuple[np.ndarray, ...]] | BadImage:
    name = source.name(index)
    try:
        image = source.image(index)
        return [plan.cut(image, name) for plan in plans]
    except DataError as error:
        return BadImage.of(index, name, error)


def _finish(
    indices: range, futures: list[Future], source: ImageSource, num_plans: int, bad: BadImages
) -> CutBatch | None:
    results = [future.result() for future in futures]
    bad.take(result for result in results if isinstance(result, BadImage))
    good = [(i, result) for i, result in zip(indices, results, strict=True) if not isinstance(result, BadImage)]
    if not good:
        return None
    places = np.array([index for index, _ in good], dtype=np.int64)
    cuts = tuple([result[which] for _, result in good] for which in range(num_plans))
    return CutBatch(labels=source.labels[places], cuts=cuts)


def _num_bytes(batch: CutBatch) -> int:
    return sum(pixels.nbytes for cuts in batch.cuts for cut in cuts for pixels in cut)
