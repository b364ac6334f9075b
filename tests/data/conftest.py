"""Small sets on disk, and a source made of numbers."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.errors import DataError


class NumberedSource:
    """N images [9 + i % 5, 12, 3] of seeded noise, label i % 3; those in `broken` can not be decoded."""

    classes = ("a", "b", "c")

    def __init__(self, count, broken=(), side=9):
        self.labels = np.arange(count, dtype=np.int64) % 3
        self.description = f"{count} numbers"
        self._broken, self._side = frozenset(broken), side

    def __len__(self):
        return len(self.labels)

    def image(self, index):
        if index in self._broken:
            raise DataError(f"{self.name(index)}: can not be decoded (planted)", remedy="none")
        shape = (self._side + index % 5, self._side + 3, 3)
        return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)

    def name(self, index):
        return f"number/{index}.png"

    def fingerprint(self):
        return f"{len(self)}-{sorted(self._broken)}-{self._side}"


def encoded(value, kind="PNG", size=(6, 5)):
    stream = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(stream, kind)
    return stream.getvalue()


def write_tar(path, members):
    """`members`: name -> bytes, in that order."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


_EARLIER: set[int] = set()


@pytest.fixture(autouse=True)
def earlier_children():
    """Other tests of the same run may have left helpers of Python's own, such as its resource tracker."""
    _EARLIER.clear()
    _EARLIER.update(children())


def children():
    """Processes that this one has started since the test began, zombies aside."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z" and int(pid) not in _EARLIER:
            found.append(int(pid))
    return found


@pytest.fixture(autouse=True)
def own_index_cache(tmp_path_factory, monkeypatch):
    """Indexes are kept in a folder of the test, never in the home folder."""
    from resnet_deploy.data import index_cache

    folder = tmp_path_factory.mktemp("index")
    monkeypatch.setattr(index_cache, "_folder", lambda: folder)
    return folder
