"""Batches of network inputs, decoded and preprocessed ahead by threads."""

from __future__ import annotations

__all__ = ["Batch", "count_batches", "input_batches", "paired_batches"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.decode_ahead import decode_ahead
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images of a source, in its order.

    Attributes:
        images: [N, 3, H, W] float32, preprocessed; or [H, W, 3] uint8 each, where the network does that itself.
        labels: [N] int64, -1 where not known.
        indices: [N] int64, places in the source; consecutive but for images that were left out.
    """

    images: np.ndarray | list[np.ndarray]
    labels: np.ndarray
    indices: np.ndarray


def count_batches(source: ImageSource, batch_size: int) -> int:
    """How many batches `input_batches` gives where no image is bad; the last may be smaller."""
    return -(-len(source) // batch_size)


def input_batches(
    source: ImageSource, spec: Preprocess | None, *, batch_size: int, num_threads: int = 0, bad: BadImages | None = None
) -> Iterator[Batch]:
    """All images of `source` in order, `batch_size` at a time, as `decode_ahead` gives them."""
    return (batch for (batch,) in _batches(source, (spec,), batch_size, num_threads, bad))


def paired_batches(
    source: ImageSource,
    specs: tuple[Preprocess | None, Preprocess | None],
    *,
    batch_size: int,
    num_threads: int = 0,
    bad: BadImages | None = None,
) -> Iterator[tuple[Batch, Batch]]:
    """As `input_batches`, every image decoded once and preprocessed by two rules; the two hold the same images.

    Args:
        specs: None leaves images as they were decoded.
    """
    if specs[0] == specs[1]:
        return (
            (batch, batch)
            for batch in input_batches(source, specs[0], batch_size=batch_size, num_threads=num_threads, bad=bad)
        )
    return _batches(source, specs, batch_size, num_threads, bad)


def _batches(
    source: ImageSource, specs: Sequence[Preprocess | None], batch_size: int, num_threads: int, bad: BadImages | None
) -> Iterator[tuple[Batch, ...]]:
    def cut(image: Image.Image, name: str) -> list[np.ndarray]:
        return [image if spec is None else crop_pixels(image, spec, name=name) for spec in specs]

    for places, crops in decode_ahead(source, cut, batch_size=batch_size, num_threads=num_threads, bad=bad):
        yield tuple(
            Batch(
                images=_inputs([images[which] for images in crops], spec),
                labels=source.labels[places],
                indices=places,
            )
            for which, spec in enumerate(specs)
        )


def _inputs(images: list[np.ndarray], spec: Preprocess | None) -> np.ndarray | list[np.ndarray]:
    return images if spec is None else normalize(np.stack(images), spec)
