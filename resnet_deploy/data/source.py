"""Where images come from: one small protocol, and the way from what a user types to a source."""

from __future__ import annotations

__all__ = ["ImageSource", "Subset", "open_images", "stratified_sample"]

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.data.splits import SPLIT_NAMES, choose_split


class ImageSource(Protocol):
    """A list of decoded images with labels.

    Attributes:
        description: What a user would recognise, e.g. "cifar10/test.tar".
        classes: Names of the classes in label order; empty where the images have no labels.
        labels: [N] int64 class of each image, -1 where not known.
    """

    description: str
    classes: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray:
        """Decoded image [H, W, 3] uint8 RGB; raises DataError naming the file. Safe to call from threads."""

    def name(self, index: int) -> str:
        """Path or name of one image, for messages and reports."""

    def fingerprint(self) -> str:
        """SHA-256 that changes when the set of images changes."""


class Subset:
    """Some images of another source, in the order given."""

    def __init__(self, source: ImageSource, indices: Sequence[int]) -> None:
        self._source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.description = f"{len(self.indices)} of {source.description}"
        self.classes = source.classes
        self.labels = source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> np.ndarray:
        return self._source.image(int(self.indices[index]))

    def name(self, index: int) -> str:
        return self._source.name(int(self.indices[index]))

    def fingerprint(self) -> str:
        return sha256_of_bytes(self._source.fingerprint().encode() + self.indices.tobytes())


def open_images(data: str, *, split: str | None = None) -> ImageSource:
    """Open what `--data` names.

    Args:
        data: "digits" (scikit-learn's bundled handwritten digits); "noise" (random images); a folder or an
            uncompressed .tar of class subfolders; a folder or .tar that holds one of these per split (`train/`,
            `val.tar` ...); CIFAR's binary files (`cifar-10-batches-bin`, `cifar-100-binary`); WebDataset shards, as
            a folder of them or a pattern (`train-{000000..000146}.tar`, see `shard_names.expand_shards`); or a flat
            folder of images without labels.
        split: "train", "val" or "test"; "val" and "test" stand for each other where only one exists. Not
            needed where `data` has no splits.
    Raises:
        DataError: Missing, empty, not an archive, or the split is not there.
        MissingDependencyError: "digits" without scikit-learn.
    """
    from resnet_deploy.data import cifar_binary, digits, folder, noise, shard_names, shards, tar

    if data == "digits":
        return digits.DigitsSource(split)
    if data == "noise":
        return noise.NoiseSource()
    if shard_names.is_shard_pattern(data):
        paths = shard_names.shards_of_split(shard_names.expand_shards(data), split, where=data)
        return shards.ShardSource(paths, data)
    path = Path(data)
    if not path.exists():
        raise DataError(
            f"{path}: no such folder or archive",
            remedy="--data takes a folder with one subfolder per class, a .tar of such folders, CIFAR's binary "
            "files, WebDataset shards, or `digits`",
        )
    if path.is_dir() and (place := cifar_binary.find_cifar(path)) is not None:
        return cifar_binary.CifarSource(place, split)
    path = _resolve_split(path, split)
    if path.is_dir():
        archives = sorted(child for child in path.iterdir() if child.suffix == ".tar" and child.is_file())
        if not archives or not shards.holds_samples(archives[0]):
            return folder.FolderSource(path)
        paths = shard_names.shards_of_split(archives, split, where=str(path))
        return shards.ShardSource(paths, path.name)
    if shards.holds_samples(path):
        return shards.ShardSource([path], f"{path.parent.name}/{path.name}")
    return tar.TarSource(path, split)


def stratified_sample(source: ImageSource, count: int, *, seed: int) -> Subset:
    """`count` distinct images, spread over the classes as evenly as the source allows; all if it has fewer.

    Order and choice depend only on the source's labels, `count` and `seed`.

    Raises:
        DataError: count is not positive.
    """
    if count < 1:
        raise DataError(f"{count} images asked for, expected at least 1")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(source))
    rank = np.zeros(len(source), dtype=np.int64)  # how many images of the same class stand before in `order`
    for label in np.unique(source.labels):
        of_class = order[source.labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    chosen = order[np.argsort(rank[order], kind="stable")][:count]
    return Subset(source, np.sort(chosen))


def _resolve_split(path: Path, split: str | None) -> Path:
    """The folder or archive of a split, where a folder holds one per split; else `path` itself."""
    if not path.is_dir():
        return path
    found = {name: child for name in SPLIT_NAMES for child in (path / f"{name}.tar", path / name) if child.exists()}
    return found[choose_split(found, split, where=str(path))] if found else path
