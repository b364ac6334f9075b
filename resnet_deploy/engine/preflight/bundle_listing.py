"""A bundle's own list of its files: what says which bytes they should have, as a manifest does beside other files."""

from __future__ import annotations

__all__ = ["BUNDLE_FILE", "BundleListing", "bundle_above", "read_listing"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.engine.preflight.check import Check, State

BUNDLE_FILE = "bundle.json"
_SCHEMAS = "resnet-deploy/bundle/"
_MAX_DEPTH = 8  # folders in a bundle
_MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleListing:
    """What `bundle.json` says of files.

    Attributes:
        folder: Of the bundle.
        sha256: Path in the bundle -> hash.
    """

    folder: Path
    sha256: Mapping[str, str]

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths that are listed and not there."""
        return tuple(path for path in sorted(self.sha256) if not (self.folder / path).is_file())

    def check(self, file: Path) -> Check:
        """Whether a file of the bundle is listed with the hash that it has."""
        path = file.relative_to(self.folder).as_posix()
        expected = self.sha256.get(path)
        if path in (BUNDLE_FILE, "bundle.sig"):
            text = f"`resnet-deploy bundle verify {self.folder}` checks the bundle as a whole"
            return _answer(State.NOT_CHECKED, text)
        if expected is None:
            return _answer(State.DAMAGED, f"{BUNDLE_FILE} does not list it, and no bundle with such a file opens")
        if (got := sha256_of_file(file)) != expected:
            return _answer(State.DAMAGED, f"SHA-256 is {got[:12]}..., {BUNDLE_FILE} says {expected[:12]}...")
        return _answer(State.GOOD, f"SHA-256 {expected[:12]}..., as in {BUNDLE_FILE}")


def bundle_above(file: Path) -> BundleListing | None:
    """The list of the bundle that `file` lies in; None where it lies in none, or in one whose list can not be read."""
    for folder in list(file.parents)[:_MAX_DEPTH]:
        if (folder / BUNDLE_FILE).is_file():
            try:
                return read_listing(folder)
            except ArtifactError:
                return None  # said of bundle.json itself
    return None


def read_listing(folder: Path) -> BundleListing | None:
    """The hashes in the `bundle.json` of a folder; its other fields are for `bundle verify`.

    Returns:
        None where the file is another program's.
    Raises:
        ArtifactError: It can not be read, or does not list files with hashes.
    """
    path = folder / BUNDLE_FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        plain = json.loads(path.read_bytes())
        if not isinstance(plain, dict) or not str(plain.get("schema")).startswith(_SCHEMAS):
            return None
        listed = {str(entry["path"]): str(entry["sha256"]) for entry in plain["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{path} can not be read: {error or type(error).__name__}", remedy="copy the bundle again"
        ) from error
    return BundleListing(folder=folder, sha256=listed)


def _answer(state: State, text: str) -> Check:
    return Check(subject="manifest", state=state, text=text)
