"""A bundle's files on the disk: copied, hashed, described, signed, and in place only when all of it is done."""

from __future__ import annotations

__all__ = ["BundleContents", "sign_bundle", "write_bundle"]

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.ship.folder import copy_hashed, new_folder
from resnet_deploy.ship.licences import licence_notes
from resnet_deploy.ship.manifest import MANIFEST_FILE, SIGNATURE_FILE, BundleFile, BundleManifest
from resnet_deploy.ship.manifest_file import manifest_bytes, read_bundle_manifest
from resnet_deploy.ship.signature import sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleContents:
    """What the files of a bundle hold.

    Attributes:
        models: Path in the bundle -> the file to copy and the SHA-256 it must have.
        golden_pixels: [H, W, 3] uint8 to be written as PNG, or None where `golden_file` has the bytes of a file.
        engines: Product and version of each engine, for the licence notes.
    """

    models: Mapping[str, tuple[Path, str]]
    labels: tuple[str, ...] | None
    golden_pixels: np.ndarray | None
    golden_file: bytes | None
    golden_name: str
    weights_licence: str | None
    engines: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        bad = [label for label in self.labels or () if not label or any(ord(letter) < 32 for letter in label)]
        if bad:
            raise ConfigError(
                f"label {bad[0]!r} is empty or has a control character, a bundle's labels are one on each line",
                remedy="give other names with --labels where the network is exported or imported",
            )


def write_bundle(
    out: Path,
    contents: BundleContents,
    describe: Callable[[tuple[BundleFile, ...]], BundleManifest],
    *,
    private_key: Ed25519PrivateKey | None = None,
    progress: Progress = NO_PROGRESS,
) -> BundleManifest:
    """Write the folder `out`, which takes the place of what is there.

    Args:
        describe: The manifest for files of these paths, sizes and hashes.
    Raises:
        ArtifactMismatchError: A model was changed while it was copied.
    """
    with new_folder(out) as folder:
        files = []
        for path, (file, expected) in contents.models.items():
            with open(file, "rb") as stream:
                digest, size = copy_hashed(stream, folder / path)
            if digest != expected:
                raise ArtifactMismatchError(f"{file} was changed while it was copied", remedy="run the command again")
            files.append(BundleFile(path=path, sha256=digest, size_bytes=size))
            progress.advance(note=path)
        for path, data in _small_files(out.stem, contents).items():
            digest, size = copy_hashed(io.BytesIO(data), folder / path)
            files.append(BundleFile(path=path, sha256=digest, size_bytes=size))
        manifest = describe(tuple(sorted(files, key=lambda entry: entry.path)))
        data = manifest_bytes(manifest)
        (folder / MANIFEST_FILE).write_bytes(data)
        if private_key is not None:
            (folder / SIGNATURE_FILE).write_bytes(sign(data, private_key))
    return manifest


def sign_bundle(folder: Path, private_key: Ed25519PrivateKey) -> BundleManifest:
    """Put a signature on a bundle that is there, or another one in place of its own.

    Raises:
        ArtifactError: There is no bundle.
    """
    manifest, data = read_bundle_manifest(folder)
    with atomic_write(folder / SIGNATURE_FILE) as partial:
        partial.write_bytes(sign(data, private_key))
    return manifest


def _small_files(name: str, contents: BundleContents) -> dict[str, bytes]:
    notes = licence_notes(name=name, weights=contents.weights_licence, engines=contents.engines)
    files = {"LICENCES.txt": notes.encode("utf-8")}
    if contents.labels:
        files["labels.txt"] = "".join(f"{label}\n" for label in contents.labels).encode("utf-8")
    if contents.golden_file is not None:
        files[contents.golden_name] = contents.golden_file
    else:
        stream = io.BytesIO()
        Image.fromarray(contents.golden_pixels).save(stream, format="PNG", optimize=False)
        files[contents.golden_name] = stream.getvalue()
    return files
