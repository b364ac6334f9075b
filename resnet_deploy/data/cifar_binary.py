"""CIFAR-10 and CIFAR-100 in their binary form, read by position.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version": a record is one label byte (CIFAR-100: coarse,
then fine) and 3,072 pixel bytes, the red 32 x 32 plane first, rows from the top.
"""

from __future__ import annotations

__all__ = ["CifarSource", "find_cifar"]

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.files import sha256_of_bytes, sha256_of_file
from resnet_deploy.data.splits import choose_split

_PIXEL_BYTES = 3 * 32 * 32
_RECORDS_A_READ = 1024  # 3 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    name: str
    label_bytes: int  # the last one is the label that is used
    num_classes: int
    names_file: str
    files: dict[str, tuple[str, ...]]

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + _PIXEL_BYTES


_CIFAR10 = _Layout(
    name="CIFAR-10",
    label_bytes=1,
    num_classes=10,
    names_file="batches.meta.txt",
    files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
)
_CIFAR100 = _Layout(
    name="CIFAR-100",
    label_bytes=2,
    num_classes=100,
    names_file="fine_label_names.txt",
    files={"train": ("train.bin",), "test": ("test.bin",)},
)
_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")
_PICKLED = ("cifar-10-batches-py", "cifar-100-python")


def find_cifar(folder: Path) -> Path | None:
    """`folder`, or the one unpacked below it, if it holds the binary files; None where it does not.

    Raises:
        DataError: It is the Python version of the set, or holds both sets.
    """
    below = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
    if len(below) > 1:
        raise DataError(
            f"{folder} holds {' and '.join(path.name for path in below)}", remedy="name one of them with --data"
        )
    place = below[0] if below else folder
    if _layout_of(place) is not None:
        return place
    pickled = folder.name in _PICKLED or any((folder / name).is_dir() for name in _PICKLED)
    if pickled or (folder / "data_batch_1").is_file():
        raise DataError(
            f"{folder} is the Python version of CIFAR; its files are pickles, which can run code and are not read",
            remedy="give the binary version (cifar-10-batches-bin or cifar-100-binary)",
        )
    return None


class CifarSource:
    """CIFAR-10, or CIFAR-100 with its 100 fine labels: splits "train" and "test" ("val" stands for "test").

    Args:
        folder: Holds data_batch_1.bin to data_batch_5.bin and test_batch.bin, or train.bin and test.bin.
    Raises:
        DataError: A file is missing, of a size that is no whole number of records, or holds an impossible label.
    """

    def __init__(self, folder: Path, split: str | None) -> None:
        layout = _layout_of(folder)
        if layout is None:
            raise DataError(f"{folder} holds no CIFAR binary file", remedy="give cifar-10-batches-bin")
        self._layout = layout
        chosen = choose_split(layout.files, split, where=str(folder))
        self.description = f"{folder.name}/{chosen}"
        self._paths = [folder / name for name in layout.files[chosen]]
        self.classes = _class_names(folder, layout)
        parts = [_read_labels(path, layout) for path in self._paths]
        self.labels = np.concatenate(parts)
        self._starts = np.cumsum([0, *map(len, parts)])
        self._fds = [os.open(path, os.O_RDONLY) for path in self._paths]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_fds", ()):
            os.close(descriptor)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        file, record = self._place(index)
        offset = record * self._layout.record_bytes + self._layout.label_bytes
        data = os.pread(self._fds[file], _PIXEL_BYTES, offset)
        if len(data) != _PIXEL_BYTES:
            raise DataError(f"{self._paths[file]} is cut off in record {record}", remedy="unpack the set again")
        return np.frombuffer(data, dtype=np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)

    def name(self, index: int) -> str:
        file, record = self._place(index)
        return f"{self._paths[file]}[{record}]"

    def fingerprint(self) -> str:
        """Over the files' contents."""
        return sha256_of_bytes("".join(sha256_of_file(path) for path in self._paths).encode())

    def _place(self, index: int) -> tuple[int, int]:
        index = range(len(self))[index]
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, index - int(self._starts[file])


def _layout_of(folder: Path) -> _Layout | None:
    for layout in (_CIFAR10, _CIFAR100):
        if any((folder / name).is_file() for names in layout.files.values() for name in names):
            return layout
    return None


def _class_names(folder: Path, layout: _Layout) -> tuple[str, ...]:
    file = folder / layout.names_file
    if not file.is_file():
        return tuple(str(number) for number in range(layout.num_classes))
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(names) != layout.num_classes:
        raise DataError(
            f"{file} holds {len(names)} names, {layout.name} has {layout.num_classes} classes",
            remedy="unpack the set again",
        )
    return names


def _read_labels(path: Path, layout: _Layout) -> np.ndarray:
    """[N] int64; memory is that of a few records."""
    if not path.is_file():
        raise DataError(f"{path} is missing", remedy=f"unpack the binary version of {layout.name} again")
    size = path.stat().st_size
    if size == 0 or size % layout.record_bytes:
        raise DataError(
            f"{path} has {size} bytes, which is no whole number of {layout.name}'s records of {layout.record_bytes}",
            remedy="unpack the binary version again; this file is cut off or another set's",
        )
    labels = np.empty(size // layout.record_bytes, dtype=np.int64)
    with open(path, "rb") as file:
        for start in range(0, len(labels), _RECORDS_A_READ):
            data = np.frombuffer(file.read(_RECORDS_A_READ * layout.record_bytes), dtype=np.uint8)
            rows = data.reshape(-1, layout.record_bytes)
            labels[start : start + len(rows)] = rows[:, layout.label_bytes - 1]
    if labels.max() >= layout.num_classes:
        record = int(labels.argmax())
        raise DataError(
            f"{path}: record {record} has label {labels[record]}, {layout.name} has {layout.num_classes} classes",
            remedy="unpack the set again; this file is damaged or another set's",
        )
    return labels
