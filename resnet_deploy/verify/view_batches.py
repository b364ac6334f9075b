"""Images decoded once, ahead, by threads, and cut for every network that looks at them."""

from __future__ import annotations

__all__ = ["CutBatch", "cut_batches"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.decode_ahead import decode_ahead
from resnet_deploy.data.source import ImageSource
from resnet_deploy.verify.protocols import ViewPlan


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
    """All images of `source` in order, `batch_size` at a time, as `decode_ahead` gives them."""

    def cut(image: Image.Image, name: str) -> list[tuple[np.ndarray, ...]]:
        return [plan.cut(image, name) for plan in plans]

    for places, cuts in decode_ahead(source, cut, batch_size=batch_size, num_threads=num_threads, bad=bad):
        per_plan = tuple([of_image[which] for of_image in cuts] for which in range(len(plans)))
        yield CutBatch(labels=source.labels[places], cuts=per_plan)
