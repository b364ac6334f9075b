"""Manifests: what a file is, what it was made from, with which options, and whether that still holds.

`model.onnx` has `model.onnx.json` beside it. Stages meet only through files and their manifests; a manifest
is written after its file, so a file without a valid manifest was never finished.
"""

from __future__ import annotations

__all__ = [
    "IN_GRAPH",
    "MANIFEST_SCHEMA",
    "InputRecord",
    "Manifest",
    "NetRecord",
    "find_manifest",
    "is_up_to_date",
    "manifest_path",
    "read_manifest",
    "read_result",
    "refuse_pixels",
    "update_details",
    "write_manifest",
    "write_result",
]

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from resnet_deploy import __version__
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.files import atomic_write, content_file, sha256_of_file
from resnet_deploy.core.specs import OutputKind, Precision, Preprocess

MANIFEST_SCHEMA = "resnet-deploy/manifest/1"

IN_GRAPH = "in-graph"
"""Detail `preprocess` of files that prepare their images themselves."""

T = TypeVar("T")

_STAGE_OF_KIND = {
    "checkpoint": "train` or `resnet-deploy import",
    "onnx": "export` or `resnet-deploy import",
    "calibration": "calibrate",
    "engine": "build",
    "verdict": "validate",
    "benchmark": "bench",
    "report": "report",
    "bundle": "bundle",
    "analysis": "analyze",
    "estimate": "estimate",
    "advice": "advise",
    "attribution": "attribute",
    "divergence": "diverge",
    "bisection": "bisect",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InputRecord:
    """One thing a file was made from.

    Attributes:
        role: What it was used as, e.g. "checkpoint", "images".
        file: Path relative to the manifest's folder, or a description where it is no single file.
        sha256: Of the file's bytes, or of a data set's fingerprint.
    """

    role: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NetRecord:
    """Which network a file holds: the catalogue's name, the number of classes, and what the outputs mean."""

    name: str
    num_classes: int
    output: OutputKind = OutputKind.LOGITS


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The record beside a file.

    Attributes:
        kind: "checkpoint", "onnx", "calibration", "engine", "verdict", "attribution", "divergence", "bisection",
            "benchmark", "comparison", "estimate", "advice", "analysis", "report" or "bundle".
        file: Name of the file, without folder.
        sha256, size_bytes: Of the file's bytes; of a bundle, which is a folder, those of its `bundle.json`.
        stage: The command that made it.
        inputs: What it was made from.
        options: The options of the stage that change its result.
        versions: Version of every package that had a part in it, this one included.
        net, preprocess, labels: What the network is, what pixels it wants, what its classes mean; handed on
            from file to file. `labels[i]` is the name of class i.
        precision: For ONNX files and engines.
        details: What the stage measured (accuracy, seconds, counts), by name.
        created: UTC, ISO 8601.
    """

    kind: str
    file: str
    sha256: str
    size_bytes: int
    stage: str
    inputs: tuple[InputRecord, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    net: NetRecord | None = None
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    precision: Precision | None = None
    details: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    schema: str = MANIFEST_SCHEMA

    @property
    def takes_pixels(self) -> bool:
        """Whether `preprocess` is computed in the file itself: its input is uint8 [N, height, width, 3] of any size."""
        return self.details.get("preprocess") == IN_GRAPH

    def input_sha256(self, role: str) -> str | None:
        """SHA-256 of the input with that role, or None."""
        return next((record.sha256 for record in self.inputs if record.role == role), None)


def manifest_path(file: Path) -> Path:
    """Where the manifest of `file` is: the same name with ".json" added."""
    return Path(f"{file}.json")


def write_manifest(
    file: Path,
    *,
    kind: str,
    stage: str,
    inputs: Mapping[str, Path | tuple[str, str]] | None = None,
    options: Mapping[str, Any] | None = None,
    packages: Iterable[str] = (),
    parent: Manifest | None = None,
    net: NetRecord | None = None,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    precision: Precision | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """Describe the finished `file` and put its manifest beside it.

    Args:
        inputs: Role -> file, or role -> (description, sha256) for what is no single file.
        options: JSON-like values or dataclasses; what `is_up_to_date` will compare.
        packages: Distribution names whose versions are recorded.
        parent: Manifest from which net, preprocess and labels are taken where they are not given.
    """
    file = Path(file)
    manifest = Manifest(
        kind=kind,
        file=file.name,
        sha256=sha256_of_file(file),
        size_bytes=content_file(file).stat().st_size,
        stage=stage,
        inputs=_input_records(file, inputs or {}),
        options=_json_like(options or {}),
        versions=_versions(packages),
        net=net or (parent.net if parent else None),
        preprocess=preprocess or (parent.preprocess if parent else None),
        labels=labels or (parent.labels if parent else None),
        precision=precision,
        details=_json_like(details or {}),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    _save(file, manifest)
    return manifest


def update_details(file: Path, **found: Any) -> Manifest:
    """Add to the details of a finished file what was measured on it afterwards.

    Raises:
        ArtifactError: As `read_manifest`.
    """
    manifest = read_manifest(file, verify=False)
    manifest = replace(manifest, details={**manifest.details, **_json_like(found)})
    _save(file, manifest)
    return manifest


def _save(file: Path, manifest: Manifest) -> None:
    with atomic_write(manifest_path(file)) as partial:
        partial.write_text(json.dumps(to_plain(manifest), indent=1) + "\n", encoding="utf-8")


def read_manifest(file: Path, *, kind: str | None = None, verify: bool = True) -> Manifest:
    """Read the manifest beside `file` and check that it speaks of this very file.

    Args:
        kind: What the file must be.
        verify: Compare the SHA-256 of the file; False only where the bytes are checked elsewhere.
    Raises:
        ArtifactError: The file or its manifest is missing or unreadable, or it is of another kind.
        ArtifactMismatchError: The file is not the one its manifest was written for.
    """
    file = Path(file)
    if not content_file(file).is_file():
        what = "is a folder, a file was expected" if file.is_dir() else "no such file"
        raise ArtifactError(
            f"{file}: {what}", remedy=_remedy_for(kind) or "check the path, or run the stage that makes it"
        )
    path = manifest_path(file)
    if not path.is_file():
        raise ArtifactError(
            f"{file} has no manifest ({path.name} beside it), so it was not finished, or not made by resnet-deploy",
            remedy=_remedy_for(kind) or "run the stage that makes it again",
        )
    try:
        manifest = from_plain(Manifest, json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ArtifactError(
            f"{path} is not a manifest of schema {MANIFEST_SCHEMA}: {error}",
            remedy=f"make {file.name} again",
        ) from error
    if manifest.schema != MANIFEST_SCHEMA:
        raise ArtifactError(
            f"{path}: schema is {manifest.schema!r}, expected {MANIFEST_SCHEMA!r}", remedy=f"make {file.name} again"
        )
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(f"{file} is of kind {manifest.kind!r}, expected {kind!r}", remedy=_remedy_for(kind))
    if verify and (got := sha256_of_file(file)) != manifest.sha256:
        raise ArtifactMismatchError(
            f"{file}: SHA-256 is {got[:12]}..., its manifest says {manifest.sha256[:12]}... "
            f"({file.stat().st_size} bytes, manifest: {manifest.size_bytes}); the file was changed or cut off",
            remedy=f"make {file.name} again with `resnet-deploy {manifest.stage}`, or restore it",
        )
    return manifest


def refuse_pixels(file: Path, manifest: Manifest | None) -> None:
    """Raises ConfigError where `file` prepares its images itself: for stages that look inside a network."""
    if manifest is None or not manifest.takes_pixels:
        return
    source = next((record.file for record in manifest.inputs if record.file.endswith(".onnx")), "")
    raise ConfigError(
        f"{file} prepares its images itself; this works on the network alone",
        remedy=f"give the file it was made from{source and f': {Path(file).parent / source}'}",
    )


def find_manifest(file: Path) -> Manifest | None:
    """Like `read_manifest`, but None where there is no manifest at all (a file made elsewhere)."""
    return read_manifest(file) if manifest_path(file).is_file() else None


def write_result(result: Any, file: Path, **record: Any) -> Manifest:
    """Write a dataclass as JSON, and its manifest; what `read_result` reads.

    Args:
        record: What `write_manifest` takes.
    """
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(to_plain(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return write_manifest(file, **record)


def read_result(kind: type[T], file: Path, *, manifest_kind: str) -> T:
    """Read a JSON file of the chain (a verdict, a benchmark) into its dataclass, after its manifest.

    Raises:
        ArtifactError: Missing, truncated, changed, or of another kind or version.
    """
    read_manifest(file, kind=manifest_kind)
    try:
        return from_plain(kind, json.loads(Path(file).read_text(encoding="utf-8")), source=str(file))
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ArtifactError(
            f"{file} is not a {manifest_kind} of this version: {error}", remedy=_remedy_for(manifest_kind)
        ) from error


def is_up_to_date(
    file: Path, *, stage: str, inputs: Mapping[str, Path | tuple[str, str]], options: Mapping[str, Any]
) -> bool:
    """Whether `file` is whole and was made by `stage` from exactly these inputs and options, by this version."""
    try:
        manifest = read_manifest(file)
        records = _input_records(Path(file), inputs)
    except ArtifactError:
        return False
    return (
        manifest.stage == stage
        and manifest.versions.get("resnet-deploy") == __version__
        and {(r.role, r.sha256) for r in manifest.inputs} == {(r.role, r.sha256) for r in records}
        and manifest.options == _json_like(options)
    )


def _input_records(file: Path, inputs: Mapping[str, Path | tuple[str, str]]) -> tuple[InputRecord, ...]:
    records = []
    for role, value in inputs.items():
        if isinstance(value, tuple):
            name, digest = value
        else:
            name = os.path.relpath(Path(value).resolve(), file.resolve().parent)
            digest = sha256_of_file(value)
        records.append(InputRecord(role=role, file=name, sha256=digest))
    return tuple(records)


def _json_like(value: Any) -> Any:
    return json.loads(json.dumps(to_plain(value)))


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {"resnet-deploy": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _remedy_for(kind: str | None) -> str | None:
    return f"make one with `resnet-deploy {_STAGE_OF_KIND[kind]}`" if kind in _STAGE_OF_KIND else None
