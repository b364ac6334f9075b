"""The two splits of a training run, checked against each other."""

from __future__ import annotations

__all__ = ["open_splits"]

from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.data.source import ImageSource, open_images


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
