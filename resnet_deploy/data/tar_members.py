"""Where the files of an uncompressed .tar lie in it."""

from __future__ import annotations

__all__ = ["TarMember", "read_span", "tar_members"]

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import is_image

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class TarMember:
    """One regular file of an archive; `offset` and `size` in bytes."""

    name: str
    offset: int
    size: int


def tar_members(path: Path) -> Iterator[TarMember]:
    """The regular files of an archive in its order, found by hopping from header to header; memory is one header.

    Raises:
        DataError: Not an uncompressed .tar, cut off, a name that points outside it, or an image that is a link.
    """
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile keeps every header it has read, a kilobyte each
                _check(member, path, size)
                if member.isfile():
                    yield TarMember(member.name.removeprefix("./"), member.offset_data, member.size)
            end = archive.offset
    except (tarfile.TarError, EOFError) as error:
        if "unexpected end" in str(error):
            raise _cut_off(path, "") from error
        raise DataError(
            f"{path} is not an uncompressed .tar archive: {error}",
            remedy="unpack it and give the folder, or a .tar without compression",
        ) from error
    # tarfile takes the end of the file for the end of the archive, so that half a download would pass for a set.
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise _cut_off(path, " (it has no end mark)")


def read_span(descriptor: int, member: TarMember, *, path: Path) -> bytes:
    """The bytes of one member, by position; raises DataError where the archive is cut off."""
    data = os.pread(descriptor, member.size, member.offset)
    if len(data) != member.size:
        raise _cut_off(path, f" inside {member.name}")
    return data


def _check(member: tarfile.TarInfo, path: Path, archive_size: int) -> None:
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise DataError(
            f"{path}: member {member.name!r} points outside the archive", remedy="pack it again with relative names"
        )
    if is_image(PurePosixPath(member.name).name) and (member.issym() or member.islnk() or member.issparse()):
        kind = "sparse file" if member.issparse() else "link"
        raise DataError(
            f"{path}: {member.name} is a {kind}, which can not be read in place",
            remedy="pack again with `tar --dereference --hard-dereference`, without --sparse",
        )
    if member.isfile() and member.offset_data + member.size > archive_size:
        raise _cut_off(path, f" inside {member.name}")


def _cut_off(path: Path, where: str) -> DataError:
    return DataError(f"{path} is cut off{where}", remedy="copy or download the archive again")
