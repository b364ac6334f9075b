"""Writing files so that an interrupted command leaves the old one or none, and naming them by content."""

from __future__ import annotations

__all__ = ["atomic_write", "check_writable", "content_file", "sha256_of_bytes", "sha256_of_file"]

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError

_PARTIAL_SUFFIX = ".part"
_BUNDLE_MANIFEST = "bundle.json"
_DIGESTS: dict[tuple[int, ...], str] = {}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path in `path`'s folder; rename it to `path` when the block ends without an error.

    The temporary file is flushed to the disk before the rename and removed after an error or Ctrl-C, so
    `path` is never half of a file. Missing parent folders are made.

    Raises:
        ArtifactError: `path` is a folder, or its folder is a file.
        OSError: The disk is full, or the folder can not be written; `path` is as it was.
    """
    path = Path(path)
    partial = _begin(path)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(partial), partial):
            error.filename = str(path)  # a write on a full disk does not say which file it was
        raise


def check_writable(path: Path) -> None:
    """See that `atomic_write(path)` can begin, before work that would be lost if it could not; makes the folder.

    Raises:
        ArtifactError, OSError: As `atomic_write`.
    """
    _begin(Path(path)).unlink()


def _begin(path: Path) -> Path:
    """An empty temporary file in the folder of `path`, which is made if it is not there."""
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder, a file name was expected", remedy="name a file inside it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL_SUFFIX}")
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (FileExistsError, NotADirectoryError) as error:
        raise ArtifactError(
            f"{path} can not be written: a part of its path is a file, a folder was expected",
            remedy="name a file in a folder",
        ) from error
    except OSError as error:
        error.filename = str(path)
        raise
    return partial


def content_file(path: Path) -> Path:
    """The file whose bytes stand for `path`: itself, or of a bundle, a folder, the `bundle.json` with all its hashes."""
    inside = Path(path) / _BUNDLE_MANIFEST
    return inside if inside.is_file() else Path(path)


def sha256_of_bytes(data: bytes) -> str:
    """Lower-case hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Lower-case hexadecimal SHA-256 of a file's bytes; of a bundle, those of its `content_file`.

    A file that this process has hashed before and that is the same by inode, size and times is not read again:
    one run of several stages would otherwise read each file five times or more.

    Raises:
        ArtifactError: There is no such file.
    """
    try:
        with open(content_file(path), "rb") as file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if identity not in _DIGESTS:
                digest = hashlib.sha256()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                _DIGESTS[identity] = digest.hexdigest()
            return _DIGESTS[identity]
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactError(f"{path}: no such file", remedy="check the path, or run the stage that makes it") from error
