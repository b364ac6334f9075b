"""What of a bundle can be checked from its bytes alone: no runtime, no NVIDIA library, nothing in it is executed."""

from __future__ import annotations

__all__ = ["Check", "CheckState", "check_folder", "is_whole", "read_bundle_labels"]

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.ship.manifest import (
    MANIFEST_FILE,
    MAX_FILES,
    SIGNATURE_BYTES,
    SIGNATURE_FILE,
    BundleFile,
    BundleManifest,
)
from resnet_deploy.ship.manifest_file import read_bundle_manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_CHUNK = 1 << 20
_MAX_SEEN = 4 * MAX_FILES  # entries of a folder that are looked at
_MAX_NAMED = 5
_COPY_AGAIN = "copy the bundle again, or make it anew"


class CheckState(str, Enum):
    """NOT_RUN: it could not be told here; the check's detail says why."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        detail: What was found; of a failed one, what was got and what expected.
        remedy: What to do about a failure; empty otherwise.
    """

    name: str
    state: CheckState
    detail: str
    remedy: str = ""

    @classmethod
    def of(cls, name: str, problems: list[str], good: str, *, remedy: str = _COPY_AGAIN) -> Check:
        """Failed where there are problems, else passed with `good`."""
        if not problems:
            return cls(name=name, state=CheckState.PASSED, detail=good)
        more = f"; and {len(problems) - _MAX_NAMED} more" if len(problems) > _MAX_NAMED else ""
        detail = "; ".join(problems[:_MAX_NAMED]) + more
        return cls(name=name, state=CheckState.FAILED, detail=detail, remedy=remedy)


def check_folder(
    folder: Path, *, public_key: Ed25519PublicKey | None = None
) -> tuple[BundleManifest | None, tuple[Check, ...]]:
    """Manifest, files, sizes, hashes, signature and labels, in this order; a failed one ends the list, but for hashes.

    Args:
        public_key: The bundle must be signed by its owner; None only says whether there is a signature.
    Returns:
        The manifest where it could be read, and where the files are all as it says; the checks.
    """
    try:
        manifest, data = read_bundle_manifest(folder)
    except ResnetDeployError as error:
        return None, (Check.of("manifest", [error.message], "", remedy=error.remedy or _COPY_AGAIN),)
    except OSError as error:
        return None, (Check.of("manifest", [f"{folder}: {error.strerror or error}"], ""),)
    checks = [Check.of("manifest", [], f"{manifest.schema}, {manifest.name} {manifest.version}")]
    for check in _file_checks(folder, manifest):
        checks.append(check)
        if check.state is CheckState.FAILED:
            return None, tuple(checks)
    checks.append(_signature_check(folder, data, public_key))
    checks.append(_labels_check(folder, manifest))
    return manifest, tuple(checks)


def is_whole(folder: Path) -> bool:
    """Whether a bundle is there and every file is as its manifest says."""
    manifest, checks = check_folder(folder)
    return manifest is not None and all(check.state is not CheckState.FAILED for check in checks)


def _file_checks(folder: Path, manifest: BundleManifest) -> Iterator[Check]:
    expected = {entry.path: entry for entry in manifest.files}
    problems = _layout_problems(folder, expected)
    yield Check.of("files", problems, f"{len(expected)} files, none missing, none besides")
    sizes = {path: os.lstat(folder / path).st_size for path in expected}
    problems = [
        f"{path} has {sizes[path]:,} bytes, the manifest says {entry.size_bytes:,}"
        for path, entry in expected.items()
        if sizes[path] != entry.size_bytes
    ]
    yield Check.of("sizes", problems, f"{sum(sizes.values()):,} bytes")
    digests = {path: _sha256(folder / path) for path in expected}
    problems = [
        f"{path}: SHA-256 is {digests[path][:12]}..., the manifest says {entry.sha256[:12]}..."
        for path, entry in expected.items()
        if digests[path] != entry.sha256
    ]
    yield Check.of("hashes", problems, "SHA-256 of every file as in the manifest")


def _layout_problems(folder: Path, expected: dict[str, BundleFile]) -> list[str]:
    folders = {str(parent) for path in expected for parent in Path(path).parents} - {"."}
    found: set[str] = set()
    problems: list[str] = []
    for path, status in _walk(folder, ""):
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            if path not in folders:
                problems.append(f"{path!a} is a folder that the manifest does not have")
        elif not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "neither file nor folder"
            problems.append(f"{path!a} is {kind}, expected a plain file")
        elif path in expected:
            found.add(path)
        elif path not in (MANIFEST_FILE, SIGNATURE_FILE):
            problems.append(f"{path!a} is not in the manifest")
        if len(problems) > _MAX_NAMED:
            break
    return problems + [f"{path} is missing" for path in sorted(set(expected) - found)]


def _walk(folder: Path, inside: str) -> Iterator[tuple[str, os.stat_result]]:
    """Path and status of everything below `folder`, links not followed; ends after more than any bundle has."""
    waiting, seen = [inside], 0
    while waiting:
        here = waiting.pop()
        with os.scandir(folder / here) as entries:
            for entry in entries:
                path = f"{here}/{entry.name}" if here else entry.name
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                seen += 1
                if seen > _MAX_SEEN:
                    return


def _sha256(path: Path) -> str:
    """Read anew, never from `core.files.sha256_of_file`'s memory: a check is of the bytes that are there now."""
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _signature_check(folder: Path, data: bytes, public_key: Ed25519PublicKey | None) -> Check:
    path = folder / SIGNATURE_FILE
    name, remedy = "signature", "get the bundle from its maker again, or give the public key it was signed with"
    if not path.is_file():
        if public_key is None:
            return Check(name=name, state=CheckState.NOT_RUN, detail="the bundle is not signed")
        return Check.of(
            name, [f"there is no {SIGNATURE_FILE}, and one by the given key was asked for"], "", remedy=remedy
        )
    if path.stat().st_size != SIGNATURE_BYTES:
        size = path.stat().st_size
        return Check.of(name, [f"{SIGNATURE_FILE} has {size:,} bytes, expected {SIGNATURE_BYTES}"], "", remedy=remedy)
    if public_key is None:
        detail = "signed, not compared: no --public-key was given"
        return Check(name=name, state=CheckState.NOT_RUN, detail=detail)
    from resnet_deploy.ship.signature import key_fingerprint, verifies

    shown = f"the key {key_fingerprint(public_key)[:16]}..."
    problems = (
        [] if verifies(path.read_bytes(), data, public_key) else [f"it is not by {shown}, or of another manifest"]
    )
    return Check.of(name, problems, f"by {shown}", remedy=remedy)


def _labels_check(folder: Path, manifest: BundleManifest) -> Check:
    if manifest.labels is None:
        return Check(name="labels", state=CheckState.NOT_RUN, detail="the bundle has none")
    try:
        lines = read_bundle_labels(folder / manifest.labels)
    except ArtifactError as error:
        return Check.of("labels", [error.message], "", remedy="make the bundle again")
    wanted = manifest.net.num_classes
    problems = [] if len(lines) == wanted else [f"{len(lines)} labels, the network has {wanted} classes"]
    return Check.of("labels", problems, f"{len(lines)} labels, one for each class", remedy="make the bundle again")


def read_bundle_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line, each line ended by a line feed.

    Raises:
        ArtifactError: Not UTF-8, or a line is empty.
    """
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path.name} is not UTF-8: {error}", remedy="make the bundle again") from error
    if not all(lines):
        raise ArtifactError(f"{path.name}: line {lines.index('') + 1} is empty", remedy="make the bundle again")
    return tuple(lines)
