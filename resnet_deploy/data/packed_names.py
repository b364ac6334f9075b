"""Many names in two arrays: a Python list of a million strings takes a hundred megabytes, this takes thirty."""

from __future__ import annotations

__all__ = ["ClassFolders", "PackedNames"]

import os
from array import array
from collections.abc import Iterator

import numpy as np

from resnet_deploy.core.errors import DataError


class PackedNames:
    """A list of names (UTF-8, or whatever bytes a file system holds) that grows at its end.

    Args:
        text: The names one after the other; bytes.
        ends: [N] end of each in `text`.
    """

    def __init__(self, text: bytes = b"", ends: np.ndarray | None = None) -> None:
        self._text = bytearray(text)
        self._ends = array("q", [] if ends is None else ends.astype(np.int64).tobytes())

    def append(self, name: str) -> None:
        self._text += os.fsencode(name)
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self._ends):
            raise IndexError(f"name {index} of {len(self)}")
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(bytes(self._text[start : self._ends[index]]))

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def take(self, order: np.ndarray) -> PackedNames:
        """Those at `order`, in that order."""
        taken = PackedNames()
        for index in order:
            taken.append(self[int(index)])
        return taken

    def sorted_order(self) -> np.ndarray:
        """[N] int64 that sorts the names; equal names keep their order."""
        if all(self[i] <= self[i + 1] for i in range(len(self) - 1)):
            return np.arange(len(self))
        return np.argsort(np.array([os.fsencode(name) for name in self]), kind="stable")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Text [bytes] uint8 and ends [N] int64, for a file."""
        return np.frombuffer(bytes(self._text), dtype=np.uint8), np.array(self._ends, dtype=np.int64)


class ClassFolders:
    """Finds classes and labels while paths go by: the class is the name of the image's folder."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._seen = array("i")
        self._stray: str | None = None

    def add(self, path: str) -> None:
        """`path` relative to the root, with forward slashes."""
        folder = path.rpartition("/")[0].rpartition("/")[2]
        if not folder and self._stray is None:
            self._stray = path
        self._seen.append(self._numbers.setdefault(folder, len(self._numbers)))

    def finish(self, where: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Class names in sorted order and labels [N] int64; no names and -1 where all images lie at the top.

        Raises:
            DataError: Some images lie at the top and others in folders.
        """
        if not any(self._numbers):
            return (), np.full(len(self._seen), -1, dtype=np.int64)
        if self._stray is not None:
            raise DataError(
                f"{where}: {self._stray} lies beside the class folders, so its class is not known",
                remedy="move it into a class folder or away",
            )
        classes = tuple(sorted(self._numbers))
        rank = np.empty(len(classes), dtype=np.int64)
        for label, name in enumerate(classes):
            rank[self._numbers[name]] = label
        return classes, rank[np.array(self._seen, dtype=np.int64)]
