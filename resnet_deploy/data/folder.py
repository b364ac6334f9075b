"""Image folders with one subfolder per class, and flat folders without labels."""

from __future__ import annotations

__all__ = ["FolderSource"]

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import IMAGE_SUFFIXES, decode_image, is_image
from resnet_deploy.data.packed_names import ClassFolders, PackedNames


class FolderSource:
    """A folder of class subfolders; where it has none, its own images without labels.

    Hidden files and files with other suffixes than an image's are left out; classes are the subfolders'
    names in sorted order. Links to folders are followed.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.description = self.root.name
        self._names = PackedNames()
        folders = ClassFolders()
        for name in _walk(str(self.root), "", ()):
            self._names.append(name)
            folders.add(name)
        if not len(self._names):
            raise DataError(
                f"{self.root} holds no image (looked for {', '.join(IMAGE_SUFFIXES)})",
                remedy="give a folder with one subfolder per class, each holding images",
            )
        self.classes, self.labels = folders.finish(str(self.root))

    def __len__(self) -> int:
        return len(self._names)

    def image(self, index: int) -> np.ndarray:
        name = self.name(index)
        try:
            with open(name, "rb") as file:
                data = file.read()
        except OSError as error:
            raise DataError(
                f"{name}: can not be read ({error.strerror or error})", remedy="remove or replace this file"
            ) from error
        return decode_image(data, name=name)

    def name(self, index: int) -> str:
        return os.path.join(self.root, self._names[index])

    def fingerprint(self) -> str:
        """Over names, sizes and times of change, not contents: sets of a hundred gigabytes must stay usable."""
        digest = hashlib.sha256()
        for name in self._names:
            try:
                status = os.stat(os.path.join(self.root, name))
                digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
            except OSError:  # a link to nowhere: a bad image, named when it is read
                digest.update(os.fsencode(f"{name}\0missing\n"))
        return digest.hexdigest()


def _walk(root: str, below: str, inside: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Image paths relative to `root`, sorted part by part; `inside` are the folders passed, to end at loops."""
    with os.scandir(os.path.join(root, below)) as entries:
        children = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_dir in children:
        path = f"{below}/{name}" if below else name
        if is_dir:
            status = os.stat(os.path.join(root, path))
            identity = (status.st_dev, status.st_ino)
            if identity not in inside:
                yield from _walk(root, path, (*inside, identity))
        elif is_image(name):
            yield path
