"""The thing under test: a file, the backend that runs it, and what its manifest says of it."""

from __future__ import annotations

__all__ = ["Subject", "choose_preprocess", "named_preprocess", "open_subject", "subject_of"]

import json
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, find_manifest
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError, GraphError, MissingDependencyError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.engine.contract import Runner, RunnerInfo
from resnet_deploy.engine.open import backends_of, open_runner


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network file and how to run it.

    Attributes:
        backend: None takes the file type's own.
        manifest: None for a file that was made elsewhere.
        labels: Class names in label order, of the manifest or as the user gave them; None where nobody says them.
    """

    file: Path
    backend: str | None
    manifest: Manifest | None
    labels: tuple[str, ...] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether it prepares its images itself; only a manifest says so."""
        return self.manifest is not None and self.manifest.takes_pixels


def subject_of(file: Path, backend: str | None, *, labels: tuple[str, ...] | None = None) -> Subject:
    """Read the manifest of `file`, if it has one.

    Args:
        labels: For a file whose manifest names no classes, or that has none.
    Raises:
        ArtifactError: The file is missing, or is not the one its manifest was written for.
        ConfigError: No such file, and no manifest either; or a kind of file that no backend runs.
    """
    backends_of(Path(file))
    if not Path(file).is_file():
        raise ConfigError(f"{file}: no such file", remedy="check the path, or run the stage that makes it")
    manifest = find_manifest(file)
    known = manifest.labels if manifest else None
    return Subject(file=Path(file), backend=backend, manifest=manifest, labels=known or labels)


def open_subject(subject: Subject, *, num_threads: int, preprocess: Preprocess | None = None) -> Runner:
    """A runner for it; a file that was made elsewhere is looked at before it is run.

    Args:
        preprocess: What the images will be; None where that depends on the network.
    Raises:
        GraphError: A file without a manifest does not turn such images into one row of values each.
        MissingDependencyError: Its backend or device is not here; for an engine, says which ONNX to take instead.
    """
    try:
        runner = open_runner(subject.file, backend=subject.backend, num_threads=num_threads)
    except MissingDependencyError as error:
        source = _onnx_source(subject)
        if source is None:
            raise
        raise MissingDependencyError(
            error.message, remedy=f"run the ONNX file the engine was built from instead: {source}"
        ) from error
    if subject.manifest is None:
        try:
            _check_classifier(runner.info, preprocess)
        except GraphError:
            runner.close()
            raise
    return runner


def _check_classifier(info: RunnerInfo, preprocess: Preprocess | None) -> None:
    """Raises GraphError unless the network takes float [N, 3, H, W] of the right size, and has one output."""
    got = ", ".join(f"{spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]" for spec in info.inputs)
    spec = info.inputs[0] if len(info.inputs) == 1 else None
    if spec is None or not spec.dtype.startswith("float") or len(spec.shape) != 4 or spec.shape[1] not in (3, -1):
        raise GraphError(
            f"{info.file} takes {got}, expected one input of floats [N, 3, H, W]",
            remedy="export the network with the preprocessed image, channels first, as its only input",
        )
    if len(info.outputs) != 1:
        raise GraphError(
            f"{info.file} has {len(info.outputs)} outputs: {', '.join(spec.name for spec in info.outputs)}",
            remedy=f"keep the one with the logits: resnet-deploy import {info.file} --output NAME",
        )
    sides = [size if isinstance(size, int) and size > 0 else None for size in spec.shape[2:]]
    if preprocess is not None and any(
        side not in (None, given) for side, given in zip(sides, preprocess.input_shape[1:], strict=True)
    ):
        raise GraphError(
            f"{info.file} takes {got}, its preprocessing gives images of {preprocess.height_px}x{preprocess.width_px} px",
            remedy=f"give --preprocess FILE.json with height_px {sides[0] or 'any'} and width_px {sides[1] or 'any'}",
        )


def choose_preprocess(subject: Subject, given: str | None) -> Preprocess:
    """The pixel path of a network: its manifest's, unless the user names one.

    Args:
        given: "imagenet", "cifar", "digits", a JSON file with the fields of `Preprocess`, or None.
    Raises:
        ConfigError: Neither is there, or the name or file is wrong; or one is named for a file that prepares its
            images itself.
    """
    if given is not None and subject.takes_pixels:
        raise ConfigError(
            f"{subject.file} prepares its images itself, --preprocess {given} can not change that",
            remedy="leave --preprocess away, or give the file it was made from",
        )
    if given is not None:
        return named_preprocess(given)
    if subject.manifest is None or subject.manifest.preprocess is None:
        raise ConfigError(
            f"{subject.file} has no manifest that says how its images are prepared",
            remedy="say it with --preprocess imagenet, cifar, digits or FILE.json, or `resnet-deploy import` the file once",
        )
    return subject.manifest.preprocess


def named_preprocess(name: str) -> Preprocess:
    """The pixel path that --preprocess names: "imagenet", "cifar", "digits", or a JSON file with its fields.

    Raises:
        ConfigError: Neither a known name nor a readable file.
    """
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
