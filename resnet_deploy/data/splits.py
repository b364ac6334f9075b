"""What the splits of a data set are called, and which stands for which."""

from __future__ import annotations

__all__ = ["SPLIT_NAMES", "choose_split", "split_of_word"]

from collections.abc import Collection

from resnet_deploy.core.errors import DataError

SPLIT_NAMES = ("test", "train", "val", "valid", "validation")
_ALIASES = {
    "train": ("train",),
    "val": ("val", "validation", "valid", "test"),
    "test": ("test", "val", "validation", "valid"),
}


def choose_split(available: Collection[str], split: str | None, *, where: str) -> str:
    """The one of `available` that `split` asks for; "val" and "test" stand for each other where only one exists.

    Raises:
        DataError: None was asked for, or it is not there.
    """
    names = ", ".join(sorted(available))
    if split is None:
        raise DataError(f"{where} holds the splits {names}", remedy="say which with --split")
    for name in _ALIASES.get(split, (split,)):
        if name in available:
            return name
    raise DataError(f"{where} has no split {split!r}, only {names}", remedy="choose one with --split")


def split_of_word(word: str) -> str | None:
    """The split that a folder or a part of a file name names, if it does."""
    return word.lower() if word.lower() in SPLIT_NAMES else None
