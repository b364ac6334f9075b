"""The thing under test: a file, the backend that runs it, and what its manifest says of it."""

from __future__ import annotations

__all__ = ["Subject", "choose_preprocess", "open_subject", "subject_of"]

import json
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, find_manifest
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError, MissingDependencyError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.open import backends_of, open_runner


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network file and how to run it.

    Attributes:
        backend: None takes the file type's own.
        manifest: None for a file that was made elsewhere.
    """

    file: Path
    backend: str | None
    manifest: Manifest | None


def subject_of(file: Path, backend: str | None) -> Subject:
    """Read the manifest of `file`, if it has one.

    Raises:
        ArtifactError: The file is missing, or is not the one its manifest was written for.
        ConfigError: No such file, and no manifest either; or a kind of file that no backend runs.
    """
    backends_of(Path(file))
    if not Path(file).is_file():
        raise ConfigError(f"{file}: no such file", remedy="check the path, or run the stage that makes it")
    return Subject(file=Path(file), backend=backend, manifest=find_manifest(file))


def open_subject(subject: Subject, *, num_threads: int) -> Runner:
    """A runner for it.

    Raises:
        MissingDependencyError: Its backend or device is not here; for an engine, says which ONNX to take instead.
    """
    try:
        return open_runner(subject.file, backend=subject.backend, num_threads=num_threads)
    except MissingDependencyError as error:
        source = _onnx_source(subject)
        if source is None:
            raise
        raise MissingDependencyError(
            error.message, remedy=f"run the ONNX file the engine was built from instead: {source}"
        ) from error


def choose_preprocess(subject: Subject, given: str | None) -> Preprocess:
    """The pixel path of a network: its manifest's, unless the user names one.

    Args:
        given: "imagenet", "cifar", "digits", a JSON file with the fields of `Preprocess`, or None.
    Raises:
        ConfigError: Neither is there, or the name or file is wrong.
    """
    if given is not None:
        return _named_preprocess(given)
    if subject.manifest is None or subject.manifest.preprocess is None:
        raise ConfigError(
            f"{subject.file} has no manifest that says how its images are prepared",
            remedy="say it with --preprocess imagenet, cifar, digits or FILE.json, or `resnet-deploy import` the file once",
        )
    return subject.manifest.preprocess


def _named_preprocess(name: str) -> Preprocess:
    from resnet_deploy.data.digits import DIGITS_PREPROCESS
    from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, IMAGENET_PREPROCESS

    known = {"imagenet": IMAGENET_PREPROCESS, "cifar": CIFAR_PREPROCESS, "digits": DIGITS_PREPROCESS}
    if name in known:
        return known[name]
    if not Path(name).is_file():
        raise ConfigError(
            f"unknown preprocessing {name!r}: neither {', '.join(known)} nor a file",
            remedy="give one of these names, or a JSON file with the fields of Preprocess",
        )
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not a JSON file: {error}", remedy="see `preprocess` in any manifest") from error
    return from_plain(Preprocess, data, source=name)


def _onnx_source(subject: Subject) -> Path | None:
    if subject.manifest is None or subject.manifest.kind != "engine":
        return None
    record = next((r for r in subject.manifest.inputs if r.file.endswith(".onnx")), None)
    return None if record is None else subject.file.parent / record.file
