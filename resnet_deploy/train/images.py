"""The images of a training run, batch by batch: decoded once where all have the input's size, else as they come."""

from __future__ import annotations

__all__ = ["CachedImages", "StreamedImages", "TrainImages", "error_counts", "open_train_images"]

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.mean_image import mean_image_of_cache, mean_image_of_source
from resnet_deploy.data.pixel_cache import PixelCache, make_pixel_cache
from resnet_deploy.data.random_crops import crop_batches
from resnet_deploy.data.source import ImageSource, Subset
from resnet_deploy.train.augment import normalize_batch
from resnet_deploy.train.distributed import World
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.sampler import StepSampler, image_seeds

_EVALUATION_BATCH = 256
_LARGEST_CACHE_BYTES = 16 * 2**30
_MEAN_SAMPLE = 10_000  # images whose mean stands for that of a set too large to decode twice


class TrainImages(Protocol):
    """Images of one split.

    Attributes:
        num_images: Those that can be used.
    """

    num_images: int

    def batches(self, sampler: StepSampler, steps: range, span: slice, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The part `span` of every step's batch: pixels [B, H, W, 3] uint8 and labels [B] int64, on the device."""

    def inputs(self, part: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Every `part.step`-th image from `part.start` on, unchanged: network inputs [B, 3, H, W] and labels [B]."""

    def mean_image(self) -> Tensor:
        """Mean of the network inputs, [3, H, W] float32."""


class CachedImages:
    """Images of one size, kept as bytes in a file, or on the GPU where they take less than half of its free memory."""

    def __init__(self, cache: PixelCache, preprocess: Preprocess, device: torch.device) -> None:
        self.num_images = len(cache.labels)
        self._cache, self._preprocess, self._device = cache, preprocess, device
        self._labels = torch.from_numpy(np.array(cache.labels))
        self._on_device: Tensor | None = None
        needed = self.num_images * preprocess.height_px * preprocess.width_px * 3
        if device.type == "cuda" and needed < torch.cuda.mem_get_info(device)[0] / 2:
            self._on_device = torch.from_numpy(cache.read(np.arange(self.num_images))).to(device)

    def batches(self, sampler: StepSampler, steps: range, span: slice, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in steps:
            yield self._at(sampler.indices(step)[span])

    def inputs(self, part: slice) -> Iterator[tuple[Tensor, Tensor]]:
        indices = np.arange(self.num_images)[part]
        for start in range(0, len(indices), _EVALUATION_BATCH):
            pixels, labels = self._at(indices[start : start + _EVALUATION_BATCH])
            yield normalize_batch(pixels.permute(0, 3, 1, 2).float(), self._preprocess), labels

    def mean_image(self) -> Tensor:
        return _as_input(mean_image_of_cache(self._cache), self._preprocess)

    def _at(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        places = torch.from_numpy(indices)
        if self._on_device is not None:
            pixels = self._on_device[places.to(self._device)]
        else:
            pixels = torch.from_numpy(self._cache.read(indices)).to(self._device)
        return pixels, self._labels[places].to(self._device)


class StreamedImages:
    """Images decoded anew for every use by worker processes; memory is that of a few batches."""

    def __init__(
        self,
        source: ImageSource,
        preprocess: Preprocess,
        *,
        scale_px: tuple[int, ...],
        area: tuple[float, ...],
        device: torch.device,
        num_workers: int,
        bad: BadImages,
    ) -> None:
        self.num_images = len(source)
        self._source, self._preprocess, self._scale_px, self._area = source, preprocess, scale_px, area
        self._device, self._num_workers, self._bad = device, num_workers, bad
        self._labels = torch.from_numpy(np.array(source.labels))

    def batches(self, sampler: StepSampler, steps: range, span: slice, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        parts = ((sampler.indices(s)[span], image_seeds(seed, sampler.positions(s)[span])) for s in steps)
        crops = crop_batches(
            self._source,
            parts,
            crop_px=self._preprocess.height_px,
            scale_px=self._scale_px or None,
            area=self._area or None,
            num_workers=self._num_workers,
            bad=self._bad,
        )
        for pixels, labels in crops:
            yield (
                torch.from_numpy(pixels).to(self._device, non_blocking=True),
                torch.from_numpy(labels).to(self._device),
            )

    def inputs(self, part: slice) -> Iterator[tuple[Tensor, Tensor]]:
        subset = Subset(self._source, np.arange(self.num_images)[part])
        for batch in input_batches(subset, self._preprocess, batch_size=_EVALUATION_BATCH, bad=self._bad):
            images = torch.from_numpy(batch.images).to(self._device, memory_format=torch.channels_last)
            yield images, torch.from_numpy(batch.labels).to(self._device)

    def mean_image(self) -> Tensor:
        mean = mean_image_of_source(self._source, self._preprocess, count=_MEAN_SAMPLE, bad=self._bad)
        return _as_input(mean, self._preprocess)


def open_train_images(
    source: ImageSource,
    preprocess: Preprocess,
    recipe: Recipe | None,
    *,
    world: World,
    cache_file: Path,
    num_workers: int,
    bad: BadImages,
    progress: Progress,
) -> TrainImages:
    """The way to read `source` that fits: a file of decoded pixels, or decoding as the images are needed.

    Images that are cut to random sizes are decoded for every use, and so are held-out images that would take more
    than 16 GiB of disk.

    Args:
        recipe: None for images that are only looked at.
        cache_file: Where decoded pixels go; the first process writes, the others wait and read.
        bad: Counts images that can not be decoded.
    Raises:
        DataError: More bad images than `bad` allows.
    """
    scale_px, area = (recipe.scale_range_px, recipe.area_range) if recipe else ((), ())
    cache_bytes = len(source) * preprocess.height_px * preprocess.width_px * 3
    if scale_px or area or (recipe is None and cache_bytes > _LARGEST_CACHE_BYTES):
        return StreamedImages(
            source,
            preprocess,
            scale_px=scale_px,
            area=area,
            device=world.device,
            num_workers=num_workers,
            bad=bad,
        )
    if not world.is_first:
        world.wait_for_all()
    cache = make_pixel_cache(
        source, preprocess, cache_file, num_workers=num_workers, skip_bad=bad.limit, progress=progress
    )
    if world.is_first:
        world.wait_for_all()
    bad.take(cache.bad)
    return CachedImages(cache, preprocess, world.device)


@torch.inference_mode()
def error_counts(net: nn.Module, images: TrainImages, *, world: World) -> tuple[int, int]:
    """Wrong answers and images, of `net` in evaluation mode on unchanged images; each image is counted once.

    The processes of a job take turns image by image, and add up.
    """
    was_training = net.training
    net.eval()
    wrong = torch.zeros((), dtype=torch.int64, device=world.device)
    count = 0
    for inputs, labels in images.inputs(slice(world.rank, None, world.size)):
        wrong += (net(inputs).argmax(1) != labels).sum()
        count += len(labels)
    net.train(was_training)
    total_wrong, total_count = world.total([float(wrong), float(count)])
    return int(total_wrong), int(total_count)


def _as_input(mean_pixels: np.ndarray, preprocess: Preprocess) -> Tensor:
    pixels = torch.from_numpy(mean_pixels).permute(2, 0, 1).double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (preprocess.mean, preprocess.std))
    return ((pixels / 255 - mean) / std).float()
