"""Putting a bundle's folder in place: whole or not at all, and never over something that is no bundle."""

from __future__ import annotations

__all__ = ["check_replaceable", "copy_hashed", "new_folder", "sync_folder"]

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.ship.manifest import MANIFEST_FILE

_CHUNK = 1 << 20


def check_replaceable(out: Path, *, replace: bool) -> None:
    """See that `out` may be made.

    Args:
        replace: A bundle that is there may be replaced; anything else never is.
    Raises:
        ConfigError: Something is there that may not be replaced.
    """
    if not os.path.lexists(out):
        return
    if out.is_symlink():
        raise ConfigError(
            f"{out} is a link, which is left alone", remedy="name the folder it leads to, or another --out"
        )
    if not (out / MANIFEST_FILE).is_file():
        if not out.is_dir() or any(out.iterdir()):
            raise ConfigError(f"{out} is there and is no bundle, so it is left alone", remedy="name another --out")
    elif not replace:
        raise ConfigError(f"{out} is there already", remedy="add --force to replace it, or name another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a new folder beside `out`; it takes the place of `out` when the block ends without an error.

    After an error, or Ctrl-C, it is removed and `out` is as it was. A kill in the instant between two renames leaves
    none.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ArtifactError(
            f"{out} can not be made: a part of its path is a file", remedy="name a bundle in a folder"
        ) from error
    partial, old = _beside(out), _beside(out)
    partial.mkdir()
    try:
        yield partial
        sync_folder(partial)
        if os.path.lexists(out):
            os.rename(out, old)
        os.rename(partial, out)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(out):
            os.rename(old, out)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def copy_hashed(source: BinaryIO, out: Path, *, size_bytes: int | None = None) -> tuple[str, int]:
    """Copy a stream into a new file below a folder of ours.

    Args:
        size_bytes: Read exactly so many; None reads to the end.
    Returns:
        SHA-256 and size of what was written; less than `size_bytes` where the stream ended before.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    digest, done = hashlib.sha256(), 0
    with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644), "wb") as stream:
        while size_bytes is None or done < size_bytes:
            chunk = source.read(_CHUNK if size_bytes is None else min(_CHUNK, size_bytes - done))
            if not chunk:
                break
            digest.update(chunk)
            stream.write(chunk)
            done += len(chunk)
    return digest.hexdigest(), done


def sync_folder(folder: Path) -> None:
    """Flush every file of a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
