"""The images of a training run: both splits decoded once, checked against each other, kept in memory as bytes."""

from __future__ import annotations

__all__ = ["LoadedImages", "open_splits"]

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.batches import load_pixels
from resnet_deploy.data.source import ImageSource, open_images


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedImages:
    """One split, ready for batches.

    Attributes:
        pixels: [N, H, W, 3] uint8, resized and cropped.
        labels: [N] int64.
    """

    pixels: Tensor
    labels: Tensor

    @classmethod
    def load(
        cls, source: ImageSource, preprocess: Preprocess, *, device: torch.device, progress: Progress
    ) -> LoadedImages:
        """Decode `source`; the pixels go to a GPU where they take less than half of its free memory.

        Raises:
            DataError: An image can not be used, or all of them do not fit into memory.
        """
        needed = len(source) * preprocess.height_px * preprocess.width_px * 3
        installed = _memory_bytes()
        if installed and needed > 0.8 * installed:
            raise DataError(
                f"{source.description}: {len(source)} images of {preprocess.width_px}x{preprocess.height_px} px take "
                f"{needed / 2**30:.1f} GiB, this machine has {installed / 2**30:.1f} GiB of memory",
                remedy="train on fewer images; training keeps all of them in memory",
            )
        pixels = torch.from_numpy(load_pixels(source, preprocess, progress=progress))
        if device.type == "cuda" and needed < torch.cuda.mem_get_info(device)[0] / 2:
            pixels = pixels.to(device)
        return cls(pixels=pixels, labels=torch.from_numpy(np.array(source.labels)))

    def __len__(self) -> int:
        return len(self.labels)


def open_splits(data: str, *, split: str, val_split: str, num_classes: int | None) -> tuple[ImageSource, ImageSource]:
    """The training images and the held-out images of `data`, both with labels of the same classes.

    Raises:
        DataError: Images without labels, the same images in both splits, or splits of different classes.
        ConfigError: num_classes is not the number of classes of the images.
    """
    train, held_out = open_images(data, split=split), open_images(data, split=val_split)
    for source in (train, held_out):
        if not source.classes:
            raise DataError(
                f"{source.description} has no labels, and training needs them",
                remedy="give a folder (or .tar) with one subfolder per class, or `digits`",
            )
    if train.classes != held_out.classes:
        only = sorted(set(train.classes) ^ set(held_out.classes))
        raise DataError(
            f"{train.description} has {len(train.classes)} classes, {held_out.description} "
            f"{len(held_out.classes)}; first that only one of them has: {only[0]!r}",
            remedy="give both splits the same class folders",
        )
    if split == val_split or train.fingerprint() == held_out.fingerprint():
        raise DataError(
            f"{train.description}: splits {split!r} and {val_split!r} are the same {len(train)} images, "
            "so nothing is held out",
            remedy="put the images into the folders train/ and val/ below one folder and give that one with --data",
        )
    if num_classes is not None and num_classes != len(train.classes):
        raise ConfigError(
            f"{num_classes} classes were asked for, {train.description} has {len(train.classes)}",
            remedy="leave --classes away: the images say how many there are",
        )
    return train, held_out


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
