"""`triton.json`: what a model repository was made from and the hash of every file in it, so that both can be proven."""

from __future__ import annotations

__all__ = [
    "TRITON_MANIFEST_FILE",
    "TRITON_SCHEMA",
    "TritonManifest",
    "files_of",
    "manifest_text",
    "verify_triton_repository",
]

import json
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.ship.manifest import BundleFile
from resnet_deploy.ship.triton.options import TritonOptions

TRITON_SCHEMA = "resnet-deploy/triton/1"
TRITON_MANIFEST_FILE = "triton.json"
_REMEDY = "write the repository again from its bundle, `resnet-deploy bundle --format triton`"


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonManifest:
    """The record of a repository; it lies in its top folder, where Triton reads folders only.

    Attributes:
        bundle, bundle_version, bundle_sha256: Name, version and SHA-256 of bundle.json of the bundle it was made from.
        models: Names, in the order in which an image passes them, the ensemble last.
        checked_by: What read every config.pbtxt back ("tritonclient 2.73.0"); empty: nothing did.
        notes: What its user must know.
        files: Every other file of the repository.
    """

    bundle: str
    bundle_version: str
    bundle_sha256: str
    options: TritonOptions
    models: tuple[str, ...]
    checked_by: str
    notes: tuple[str, ...]
    made_by: dict[str, str]
    created: str
    files: tuple[BundleFile, ...]
    schema: str = TRITON_SCHEMA


def verify_triton_repository(folder: Path) -> TritonManifest:
    """Check that a repository is whole and unchanged since it was written.

    Raises:
        ArtifactError: It has no manifest, or one of another schema.
        ArtifactMismatchError: Files were changed, added or removed; names all of them.
    """
    path = Path(folder) / TRITON_MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {TRITON_MANIFEST_FILE}, so it is no repository of ours", remedy=_REMEDY)
    try:
        manifest = from_plain(TritonManifest, json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except (ValueError, ConfigError) as error:
        raise ArtifactError(f"{path} is not of schema {TRITON_SCHEMA}: {error}", remedy=_REMEDY) from error
    if manifest.schema != TRITON_SCHEMA:
        raise ArtifactError(f"{path}: schema is {manifest.schema!r}, expected {TRITON_SCHEMA!r}", remedy=_REMEDY)
    listed = {entry.path: entry.sha256 for entry in manifest.files}
    found = {name for name in files_of(Path(folder)) if name != TRITON_MANIFEST_FILE}
    problems = [f"{name} is missing" for name in sorted(set(listed) - found)]
    problems += [f"{name} is not listed" for name in sorted(found - set(listed))]
    problems += [
        f"{name} was changed"
        for name in sorted(found & set(listed))
        if (Path(folder) / name).is_symlink() or sha256_of_file(Path(folder) / name) != listed[name]
    ]
    if problems:
        raise ArtifactMismatchError(f"{folder}: {'; '.join(problems)}", remedy=_REMEDY)
    return manifest


def manifest_text(manifest: TritonManifest) -> str:
    """The text of `triton.json`."""
    return json.dumps(to_plain(manifest), indent=1, allow_nan=False) + "\n"


def files_of(folder: Path) -> list[str]:
    """Every file under `folder`, links too, as paths with "/" relative to it."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )
