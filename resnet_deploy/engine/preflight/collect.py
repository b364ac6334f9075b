"""Which files are meant by the names, folders and patterns on a command line, each with the manifest beside it."""

from __future__ import annotations

__all__ = ["collect_files", "is_manifest"]

import glob
import json
from collections.abc import Iterable
from pathlib import Path

from resnet_deploy.core.artifacts import MANIFEST_SCHEMA
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.files import content_file

_PARTIAL_SUFFIX = ".part"


def collect_files(names: Iterable[Path | str]) -> tuple[Path, ...]:
    """Files in the order given, each once; those of a folder by name, hidden and unfinished ones left out.

    A manifest stands for its file; it stays in the list where its file is not there.

    Raises:
        ArtifactError: A name or a pattern that nothing has, or nothing in all of them.
    """
    names = list(names)
    found = {path.resolve(): path for name in names for path in _files_of(str(name))}
    if not found:
        raise ArtifactError(
            f"no file in {', '.join(map(str, names)) or 'nothing'}", remedy="name the files of a bundle, or its folder"
        )
    described = {path.resolve(): path for path in map(_described, found.values())}
    return tuple(described.values())


def _files_of(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        files = (child for child in sorted(path.rglob("*")) if child.is_file())
        return [child for child in files if not _is_left_out(child.relative_to(path))]
    if path.exists():
        return [path]
    if glob.has_magic(name):  # a shell leaves a pattern that nothing matches, and Windows every pattern, to us
        return [file for match in sorted(glob.glob(name, recursive=True)) for file in _files_of(match)]
    raise ArtifactError(f"{name}: no such file or folder", remedy="check the path")


def _is_left_out(path: Path) -> bool:
    return path.name.endswith(_PARTIAL_SUFFIX) or any(part.startswith(".") for part in path.parts)


def _described(path: Path) -> Path:
    file = content_file(path.with_suffix(""))  # the manifest of a bundle lies beside its folder
    return file if path.suffix == ".json" and file.is_file() and is_manifest(path) else path


def is_manifest(path: Path) -> bool:
    """Whether the file is a manifest, or was one before it was damaged (beside its file, nothing else ends so)."""
    if path.suffix != ".json":
        return False
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return path.with_suffix("").is_file()
    return isinstance(data, dict) and data.get("schema") == MANIFEST_SCHEMA
