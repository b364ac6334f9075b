"""Class subfolders inside an uncompressed .tar, read in place."""

from __future__ import annotations

__all__ = ["TarSource"]

import hashlib
import os
from array import array
from pathlib import Path, PurePosixPath

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import decode_image, is_image
from resnet_deploy.data.index_cache import cached_index
from resnet_deploy.data.packed_names import ClassFolders, PackedNames
from resnet_deploy.data.splits import choose_split, split_of_word
from resnet_deploy.data.tar_members import TarMember, read_span, tar_members


class TarSource:
    """An uncompressed .tar of class subfolders, or of `train/` and `val/` with class subfolders each.

    Images are in the order of their names, whatever the order in the archive.
    """

    def __init__(self, path: Path, split: str | None = None) -> None:
        self.path = Path(path)
        self.description = f"{self.path.parent.name}/{self.path.name}"
        index = cached_index("tar", [self.path], lambda: _index(self.path))
        self._names = PackedNames(index["text"].tobytes(), index["ends"])
        self._offsets, self._sizes = index["offsets"], index["sizes"]
        if not len(self._names):
            raise DataError(f"{self.path} holds no image", remedy="give a .tar with one folder per class")
        self._choose_split(split)
        folders = ClassFolders()
        for name in self._names:
            folders.add(name)
        self.classes, self.labels = folders.finish(str(self.path))
        self._fd = os.open(self.path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def __len__(self) -> int:
        return len(self._names)

    def image(self, index: int) -> np.ndarray:
        member = TarMember(self._names[index], int(self._offsets[index]), int(self._sizes[index]))
        return decode_image(read_span(self._fd, member, path=self.path), name=self.name(index))

    def name(self, index: int) -> str:
        return f"{self.path}:{self._names[index]}"

    def fingerprint(self) -> str:
        """Over member names, sizes and places, and the archive's size and time of change."""
        status = self.path.stat()
        digest = hashlib.sha256(f"{status.st_size}\0{status.st_mtime_ns}\n".encode())
        for name, offset, size in zip(self._names, self._offsets, self._sizes, strict=True):
            digest.update(os.fsencode(f"{name}\0({offset}, {size})\n"))
        return digest.hexdigest()

    def _choose_split(self, split: str | None) -> None:
        """Keep one split where the folders in which the paths first differ are all named like splits."""
        # Sorted, so what the first and the last name share, all share.
        first, last = PurePosixPath(self._names[0]).parts, PurePosixPath(self._names[len(self._names) - 1]).parts
        depth = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
        if depth is None:
            return
        available: dict[str, str] = {}
        folder_of = np.empty(len(self._names), dtype=object)
        for row, name in enumerate(self._names):
            parts = PurePosixPath(name).parts
            word = split_of_word(parts[depth]) if len(parts) > depth + 1 else None
            if word is None:
                return
            folder_of[row] = available.setdefault(word, word)  # one string object a split, not one an image
        chosen = choose_split(available, split, where=str(self.path))
        rows = np.flatnonzero(folder_of == chosen)
        self._names = self._names.take(rows)
        self._offsets, self._sizes = self._offsets[rows], self._sizes[rows]
        self.description += f":{chosen}"


def _index(path: Path) -> dict[str, np.ndarray]:
    names = PackedNames()
    offsets, sizes = array("q"), array("q")
    for member in tar_members(path):
        if is_image(PurePosixPath(member.name).name):
            names.append(member.name)
            offsets.append(member.offset)
            sizes.append(member.size)
    order = names.sorted_order()
    text, ends = names.take(order).arrays()
    return {"text": text, "ends": ends, "offsets": np.array(offsets)[order], "sizes": np.array(sizes)[order]}
