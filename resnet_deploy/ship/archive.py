"""A bundle as one file: `NAME.bundle.tar.gz`, written the same way every time and read with suspicion.

What may come out of an archive is known before anything is written: `bundle.json` is its first file and lists every
other with its size. tarfile's extraction is not used: its filters differ between releases of Python, and none of them
knows a manifest.
"""

from __future__ import annotations

__all__ = ["ARCHIVE_SUFFIX", "unpack", "write_archive"]

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.ship.folder import check_replaceable, copy_hashed, new_folder
from resnet_deploy.ship.manifest import MANIFEST_FILE, SIGNATURE_BYTES, SIGNATURE_FILE, BundleManifest
from resnet_deploy.ship.manifest_file import MAX_MANIFEST_BYTES, parse_bundle_manifest, read_bundle_manifest
from resnet_deploy.ship.manifest_rules import path_problem

ARCHIVE_SUFFIX = ".tar.gz"
_BLOCK = tarfile.BLOCKSIZE
_MAX_FOLDERS = 256  # entries for folders, which some programs write
_MAX_PADDING = 2**20  # zeros after the last entry; tar fills up to 10,240 bytes
_LEVEL = 1  # weights hardly compress: more effort costs seconds and saves one part in a hundred
_REMEDY = "get the archive again from where it was made with `resnet-deploy bundle --archive`"


def write_archive(folder: Path, out: Path) -> Path:
    """Pack a bundle; the same bundle gives the same bytes (with the same zlib).

    Raises:
        ArtifactError: `folder` is no bundle, or a file of it is missing.
    """
    manifest, data = read_bundle_manifest(folder)
    names = [MANIFEST_FILE, *([SIGNATURE_FILE] if (folder / SIGNATURE_FILE).is_file() else [])]
    names += sorted(entry.path for entry in manifest.files)
    with (
        atomic_write(out) as partial,
        open(partial, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in names:
            entry = tarfile.TarInfo(f"{manifest.name}.bundle/{name}")
            entry.mode, entry.mtime = 0o644, 0
            if name == MANIFEST_FILE:
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
                continue
            try:
                with open(folder / name, "rb") as stream:
                    entry.size = (folder / name).stat().st_size
                    archive.addfile(entry, stream)
            except (FileNotFoundError, tarfile.ReadError) as error:
                raise ArtifactError(f"{folder}: {name} is missing or was changed", remedy="make it again") from error
            except ValueError as error:  # of a name that is too long, or a file of 8 GiB and more
                raise ArtifactError(f"{folder}: {name} does not fit into a tar file: {error}") from error
    return out


def unpack(archive: Path, out: Path, *, replace: bool = False) -> BundleManifest:
    """Unpack an archive into the folder `out`, which is there only if every byte was as its manifest says.

    Args:
        replace: As for `ship.folder.check_replaceable`.
    Raises:
        ArtifactError: Not such an archive, cut off, or it holds what the manifest does not: other names, links,
            devices, names that lead outside, more or fewer bytes.
        ConfigError: `out` is there.
    """
    check_replaceable(out, replace=replace)
    if archive.is_dir():
        raise ArtifactError(
            f"{archive}: is a folder, an archive was expected",
            remedy="a bundle in a folder is unpacked already: `resnet-deploy bundle verify`",
        )
    if not archive.is_file():
        raise ArtifactError(f"{archive}: no such file", remedy="check the path")
    try:
        with open(archive, "rb") as raw, gzip.GzipFile(fileobj=raw) as stream, new_folder(out) as partial:
            return _Extraction(stream, partial).run()
    except ArtifactError as error:
        raise ArtifactError(f"{archive}: {error.message}", remedy=error.remedy or _REMEDY) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArtifactError(f"{archive} is no gzip file, or was cut off: {error}", remedy=_REMEDY) from error


class _Extraction:
    """One pass over a tar stream."""

    def __init__(self, stream: BinaryIO, folder: Path) -> None:
        self._stream, self._folder = stream, folder
        self._top = ""
        self._done: set[str] = set()
        self._num_folders = 0

    def run(self) -> BundleManifest:
        entry = self._next()
        while entry is not None and entry.isdir():
            entry = self._next()
        if entry is None or self._inside(entry) != MANIFEST_FILE or entry.size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"its first file is not {MANIFEST_FILE} of at most {MAX_MANIFEST_BYTES:,} bytes")
        data = self._read(entry.size)
        self._skip_padding(entry.size)
        manifest = parse_bundle_manifest(data)
        (self._folder / MANIFEST_FILE).write_bytes(data)
        self._check_space(manifest)
        while (entry := self._next()) is not None:
            if entry.isreg():
                self._extract(entry, manifest)
        if missing := sorted({file.path for file in manifest.files} - self._done):
            raise ArtifactError(f"{missing[0]} is missing, as are {len(missing) - 1} other files of its manifest")
        self._check_end()
        return manifest

    def _next(self) -> tarfile.TarInfo | None:
        """The next header; None at the end. Only plain files and folders pass: no links, devices, extensions."""
        block = self._read(_BLOCK)
        try:
            entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except tarfile.EOFHeaderError:
            return None
        except (tarfile.HeaderError, ValueError) as error:
            raise ArtifactError(f"an entry after {sorted(self._done)[-1:]} has a damaged header: {error}") from error
        if entry.isdir():
            self._num_folders += 1
            if entry.size or self._num_folders > _MAX_FOLDERS:
                raise ArtifactError(f"folder {entry.name[:80]!r} has a size, or is one of too many")
        elif not entry.isreg() or entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ArtifactError(
                f"{entry.name[:80]!r} is of type {entry.type!r}, only plain files are unpacked",
                remedy="pack it with `resnet-deploy bundle --archive`: no links, devices or extended headers",
            )
        self._inside(entry)
        if entry.size < 0:
            raise ArtifactError(f"{entry.name[:80]!r} has {entry.size} bytes")
        return entry

    def _inside(self, entry: tarfile.TarInfo) -> str:
        """The path below the one top folder, "" for the folder itself."""
        top, _, path = entry.name.partition("/")
        problem = path_problem(top) or (path_problem(path) if path or not entry.isdir() else "")
        if problem or PurePosixPath(entry.name).is_absolute():
            raise ArtifactError(f"{entry.name[:120]!r} has no place in a bundle: {problem}")
        self._top = self._top or top
        if top != self._top:
            raise ArtifactError(f"{entry.name[:120]!r} lies beside the folder {self._top[:80]!r}, expected one folder")
        return path

    def _extract(self, entry: tarfile.TarInfo, manifest: BundleManifest) -> None:
        path = self._inside(entry)
        known = {file.path: file for file in manifest.files}
        if path in self._done or path == MANIFEST_FILE:
            raise ArtifactError(f"{path} occurs twice")
        if path == SIGNATURE_FILE:
            size, digest = SIGNATURE_BYTES, None
        elif path in known:
            size, digest = known[path].size_bytes, known[path].sha256
        else:
            raise ArtifactError(f"{path[:120]!r} is not in its manifest")
        if entry.size != size:
            raise ArtifactError(f"{path} has {entry.size:,} bytes, its manifest says {size:,}")
        try:
            got, done = copy_hashed(self._stream, self._folder / path, size_bytes=size)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ArtifactError(f"{path} is a file and a folder at once") from error
        if done < size:
            raise ArtifactError(f"{path} was cut off: {done:,} of {size:,} bytes")
        if digest is not None and got != digest:
            raise ArtifactError(f"{path}: SHA-256 is {got[:12]}..., its manifest says {digest[:12]}...")
        self._skip_padding(size)
        self._done.add(path)

    def _check_space(self, manifest: BundleManifest) -> None:
        wanted, free = sum(file.size_bytes for file in manifest.files), shutil.disk_usage(self._folder).free
        if wanted > free:
            raise ResnetDeployError(
                f"the archive's files have {wanted:,} bytes, the disk has {free:,} left",
                remedy="free some space, or name another --out",
            )

    def _check_end(self) -> None:
        rest = self._stream.read(_MAX_PADDING + 1)
        if len(rest) > _MAX_PADDING or any(rest):
            raise ArtifactError("there are bytes after its end")

    def _skip_padding(self, size: int) -> None:
        self._read(-size % _BLOCK)

    def _read(self, size: int) -> bytes:
        parts = []
        while size and (part := self._stream.read(size)):
            parts.append(part)
            size -= len(part)
        if size:
            raise ArtifactError("it was cut off")
        return b"".join(parts)
