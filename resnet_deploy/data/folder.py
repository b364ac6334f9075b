"""Image folders with one subfolder per class, plain or inside a .tar, and flat folders without labels."""

from __future__ import annotations

__all__ = ["FolderSource", "TarSource"]

import hashlib
import os
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import IMAGE_SUFFIXES, decode_image


class FolderSource:
    """A folder of class subfolders; where it has none, its own images without labels.

    Hidden files and files with other suffixes than an image's are left out; classes are the subfolders'
    names in sorted order.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.description = self.root.name
        entries = sorted(p for p in self.root.rglob("*") if _is_image(p.name) and p.is_file())
        relative = [PurePosixPath(p.relative_to(self.root).as_posix()) for p in entries]
        if not relative:
            raise DataError(
                f"{self.root} holds no image (looked for {', '.join(IMAGE_SUFFIXES)})",
                remedy="give a folder with one subfolder per class, each holding images",
            )
        self.classes, self.labels = _classes_and_labels(relative, str(self.root))
        self._paths = entries

    def __len__(self) -> int:
        return len(self._paths)

    def image(self, index: int) -> np.ndarray:
        path = self._paths[index]
        return decode_image(path.read_bytes(), name=str(path))

    def name(self, index: int) -> str:
        return str(self._paths[index])

    def fingerprint(self) -> str:
        """Over names, sizes and times of change, not contents: sets of a hundred gigabytes must stay usable."""
        digest = hashlib.sha256()
        for path in self._paths:
            status = path.stat()
            digest.update(f"{path.relative_to(self.root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class TarSource:
    """An uncompressed .tar of class subfolders, read in place."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.description = f"{self.path.parent.name}/{self.path.name}"
        try:
            with tarfile.open(self.path, "r:") as archive:
                members = [m for m in archive if m.isfile() and _is_image(PurePosixPath(m.name).name)]
        except tarfile.TarError as error:
            raise DataError(
                f"{self.path} is not an uncompressed .tar archive: {error}",
                remedy="give a folder of class subfolders or a plain .tar of one",
            ) from error
        if not members:
            raise DataError(f"{self.path} holds no image", remedy="give a .tar with one folder per class")
        members.sort(key=lambda m: m.name)
        self._names = [m.name for m in members]
        self._spans = [(m.offset_data, m.size) for m in members]
        self.classes, self.labels = _classes_and_labels([PurePosixPath(n) for n in self._names], str(self.path))
        self._fd = os.open(self.path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def __len__(self) -> int:
        return len(self._names)

    def image(self, index: int) -> np.ndarray:
        offset, size = self._spans[index]
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise DataError(f"{self.path} is cut off inside {self._names[index]}", remedy="copy the archive again")
        return decode_image(data, name=f"{self.path}:{self._names[index]}")

    def name(self, index: int) -> str:
        return f"{self.path}:{self._names[index]}"

    def fingerprint(self) -> str:
        """Over member names, sizes and places, and the archive's size and time of change."""
        status = self.path.stat()
        digest = hashlib.sha256(f"{status.st_size}\0{status.st_mtime_ns}\n".encode())
        for name, span in zip(self._names, self._spans, strict=True):
            digest.update(f"{name}\0{span}\n".encode())
        return digest.hexdigest()


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def _classes_and_labels(paths: list[PurePosixPath], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Class = name of the image's folder; all images at the top means no labels."""
    folders = [path.parent.name for path in paths]
    if not any(folders):
        return (), np.full(len(paths), -1, dtype=np.int64)
    if not all(folders):
        stray = paths[folders.index("")]
        raise DataError(
            f"{where}: {stray} lies beside the class folders, so its class is not known",
            remedy="move it into a class folder or away",
        )
    classes = tuple(sorted(set(folders)))
    index = {name: i for i, name in enumerate(classes)}
    return classes, np.array([index[name] for name in folders], dtype=np.int64)
