"""WebDataset shards: many .tar files in which an image and its label are neighbours of one name.

Read by position through an index, not as a stream: training resumes at any image, calibration takes a stratified
sample, and a fixed seed gives a fixed order, none of which a shuffled stream of shards can promise.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

__all__ = ["ShardSource", "holds_samples"]

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import IMAGE_SUFFIXES, decode_image
from resnet_deploy.data.index_cache import cached_index
from resnet_deploy.data.packed_names import PackedNames
from resnet_deploy.data.tar_members import TarMember, read_span, tar_members
from resnet_deploy.data.workers import map_in_processes

_LABEL_KEYS = ("label", "cls")
_PEEKED_MEMBERS = 16
_ALONE = 4  # so few shards are indexed in this process
_CLASSES_FILE = "classes.txt"


class ShardSource:
    """Samples of shards in their order: an image (.jpg, .png, .webp ...) with a .cls or .json of the same name.

    The label is the integer text of `.cls`, or the field "label" (or "cls") of `.json`; without either the images
    have no labels. Class names come from `classes.txt` beside the first shard, one a line, else they are numbers.

    Args:
        paths: The shards; uncompressed.
        description: What the user typed.
    """

    def __init__(self, paths: Sequence[Path], description: str) -> None:
        self.paths, self.description = [Path(path) for path in paths], description
        index = cached_index("shards", self.paths, lambda: _index(self.paths))
        self._names = PackedNames(index["text"].tobytes(), index["ends"])
        self._offsets, self._sizes, self._shards = index["offsets"], index["sizes"], index["shards"]
        self.labels = index["labels"]
        if not len(self.labels):
            raise DataError(f"{description}: the shards hold no image", remedy="give shards with .jpg and .cls files")
        self.classes = _class_names(self.labels, self.paths[0].with_name(_CLASSES_FILE))

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        # Opened for every image: a set has more shards than a process may have open files, and opening costs
        # a hundredth of decoding.
        path = self.paths[self._shards[index]]
        member = TarMember(self._names[index], int(self._offsets[index]), int(self._sizes[index]))
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(
                f"{self.name(index)}: can not be read ({error.strerror or error})", remedy="check the shard"
            ) from error
        try:
            return decode_image(read_span(descriptor, member, path=path), name=self.name(index))
        finally:
            os.close(descriptor)

    def name(self, index: int) -> str:
        return f"{self.paths[self._shards[index]]}:{self._names[index]}"

    def fingerprint(self) -> str:
        """Over the shards' names, sizes and times of change, and where the samples lie and their labels."""
        digest = hashlib.sha256()
        for path in self.paths:
            status = path.stat()
            digest.update(os.fsencode(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
        for values in (self._shards, self._offsets, self._sizes, self.labels):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def holds_samples(path: Path) -> bool:
    """Whether a .tar is a shard: among its first files, an image has a .cls or .json of the same name."""
    kinds: dict[str, set[str]] = {}
    for member in islice(tar_members(path), _PEEKED_MEMBERS):
        key, suffix = _split_name(member.name)
        kinds.setdefault(key, set()).add("image" if f".{suffix}" in IMAGE_SUFFIXES else suffix)
    return any("image" in found and found & {"cls", "json"} for found in kinds.values())


def _index(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    parts = map_in_processes(_index_shard, paths) if len(paths) > _ALONE else map(_index_shard, paths)
    names = PackedNames()
    columns: dict[str, list[np.ndarray]] = {"offsets": [], "sizes": [], "labels": [], "shards": []}
    for number, part in enumerate(parts):
        for name in PackedNames(part["text"].tobytes(), part["ends"]):
            names.append(name)
        for key in ("offsets", "sizes", "labels"):
            columns[key].append(part[key])
        columns["shards"].append(np.full(len(part["labels"]), number, dtype=np.int32))
    labels = np.concatenate(columns["labels"])
    missing = np.flatnonzero(labels < 0)
    if 0 < len(missing) < len(labels):
        shard = paths[int(np.concatenate(columns["shards"])[missing[0]])]
        raise DataError(
            f"{shard}: {names[int(missing[0])]} has no .cls and no .json with a label, {len(missing)} of "
            f"{len(labels)} images have none",
            remedy="write the labels of all samples, or of none",
        )
    text, ends = names.arrays()
    return {"text": text, "ends": ends, **{key: np.concatenate(values) for key, values in columns.items()}}


def _index_shard(path: Path) -> dict[str, np.ndarray]:
    names = PackedNames()
    offsets, sizes, labels = array("q"), array("q"), array("q")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for image, label in _samples(path, descriptor):
            names.append(image.name)
            offsets.append(image.offset)
            sizes.append(image.size)
            labels.append(label)
    finally:
        os.close(descriptor)
    text, ends = names.arrays()
    columns = {"offsets": offsets, "sizes": sizes, "labels": labels}
    return {"text": text, "ends": ends, **{key: np.array(values, dtype=np.int64) for key, values in columns.items()}}


def _samples(path: Path, descriptor: int) -> Iterator[tuple[TarMember, int]]:
    """Image and label (-1 where there is none) of every run of neighbours with one name."""
    key: str | None = None
    image: TarMember | None = None
    label = -1
    for member in tar_members(path):
        this, suffix = _split_name(member.name)
        if this != key:
            if image is not None:
                yield image, label
            key, image, label = this, None, -1
        if f".{suffix}" in IMAGE_SUFFIXES:
            if image is not None:
                raise DataError(
                    f"{path}: sample {key} holds two images, {image.name} and {member.name}",
                    remedy="write one image a sample",
                )
            image = member
        elif suffix in ("cls", "json") and label < 0:
            label = _label_of(read_span(descriptor, member, path=path), suffix, f"{path}:{member.name}")
    if image is not None:
        yield image, label


def _split_name(name: str) -> tuple[str, str]:
    """`a/b/0001.seg.png` -> ("a/b/0001", "seg.png"), as WebDataset does: at the first point of the file name."""
    folder, _, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}/{stem}", suffix.lower()


def _label_of(data: bytes, suffix: str, name: str) -> int:
    try:
        if suffix == "cls":
            label = int(data)
        else:
            fields = json.loads(data)
            label = next((fields[key] for key in _LABEL_KEYS if key in fields), -1)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{name}: {data[:40]!r} is no label", remedy="a label is an integer, the class's number from 0"
        ) from error
    if suffix == "json" and label == -1:
        return -1
    if not isinstance(label, int) or isinstance(label, bool) or label < 0:
        raise DataError(f"{name}: the label is {label!r}", remedy="a label is an integer, the class's number from 0")
    return label


def _class_names(labels: np.ndarray, file: Path) -> tuple[str, ...]:
    highest = int(labels.max())
    if highest < 0:
        return ()
    if not file.is_file():
        return tuple(str(number) for number in range(highest + 1))
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(names) <= highest:
        raise DataError(
            f"{file} names {len(names)} classes, the highest label of the shards is {highest}",
            remedy="write one class a line, in the order of the labels from 0",
        )
    return names
