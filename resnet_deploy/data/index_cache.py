"""Keeps what took long to find out about a data set (where its images lie) for the next command."""

from __future__ import annotations

__all__ = ["cached_index"]

import os
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from resnet_deploy.core.errors import ResnetDeployError
from resnet_deploy.core.files import atomic_write, sha256_of_bytes

_FORMAT = 1
_WORTH_S = 0.5


def cached_index(kind: str, files: Sequence[Path], build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """`build()`, or what it gave for the same files (by path, size and time of change) before.

    Kept in the user's cache folder, not beside the data, which is often read-only and not ours; where that folder
    can not be written either, nothing is kept. What is built in half a second is not worth keeping.
    """
    stamp = [f"{kind}/{_FORMAT}"]
    for file in files:
        status = os.stat(file)
        stamp.append(f"{os.path.abspath(file)}\0{status.st_size}\0{status.st_mtime_ns}")
    place = _folder() / f"{kind}-{sha256_of_bytes(os.fsencode(chr(10).join(stamp)))[:32]}.npz"
    try:
        with np.load(place, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none, or a damaged one
    started = time.perf_counter()
    index = build()
    if time.perf_counter() - started > _WORTH_S:
        try:
            with atomic_write(place) as partial, open(partial, "wb") as stream:
                np.savez(stream, **index)
        except (OSError, ResnetDeployError):
            pass  # a read-only or full home folder costs time at the next command, nothing else
    return index


def _folder() -> Path:
    return Path(os.path.expanduser("~/.cache/resnet-deploy"))
