"""The two splits of a training run, checked against each other."""

from __future__ import annotations

__all__ = ["open_splits", "open_unlabelled"]

import numpy as np

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.data.source import ImageSource, Subset, open_images

_HELD_OUT_SHARE = 5  # of one set of images without splits, every fifth


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
                remedy="give a folder (or .tar) with one subfolder per class, or `digits`; or, with --qat, learn without "
                "labels (--distill)",
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


def open_unlabelled(data: str, *, split: str, val_split: str, seed: int) -> tuple[ImageSource, ImageSource]:
    """Images to learn from and images to measure on, where labels are not needed.

    Where `data` has no splits, a fifth of it, chosen by `seed`, is held out.

    Raises:
        DataError: The splits named are one and the same, or there are too few images to hold some out.
    """
    train, held_out = open_images(data, split=split), open_images(data, split=val_split)
    if train.fingerprint() != held_out.fingerprint():
        return train, held_out
    if split == val_split:
        raise DataError(
            f"{train.description}: both splits are {split!r}, so nothing is held out",
            remedy="name two with --split and --val-split",
        )
    if len(train) < _HELD_OUT_SHARE:
        raise DataError(
            f"{train.description} has {len(train)} images, expected at least {_HELD_OUT_SHARE}: a fifth is held out"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    count = len(train) // _HELD_OUT_SHARE
    return Subset(train, np.sort(order[count:])), Subset(train, np.sort(order[:count]))
