"""Files of the chain -> a bundle: engines, ONNX fallback, pixel contract, labels, golden image, licence notes."""

from __future__ import annotations

__all__ = ["BundleOptions", "BundleResult", "BundledModel", "make_bundle", "pack_bundle"]

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_deploy import __version__
from resnet_deploy.core.artifacts import is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, EngineRunError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import OutputKind
from resnet_deploy.pipeline.bundle.given import given_golden, weights_licence
from resnet_deploy.pipeline.bundle.models import bundle_paths, describe_model, form_of, uses_tf32
from resnet_deploy.pipeline.bundle.run_models import run_self_test
from resnet_deploy.pipeline.bundle.self_tests import GoldenImage, MeasuredTest, Setting, measure_self_tests
from resnet_deploy.pipeline.bundle.sources import ModelSource, find_sources
from resnet_deploy.ship.archive import ARCHIVE_SUFFIX, write_archive
from resnet_deploy.ship.checks import CheckState, is_whole
from resnet_deploy.ship.folder import check_replaceable
from resnet_deploy.ship.manifest import (
    BUNDLE_SCHEMA,
    SIGNATURE_FILE,
    BundleManifest,
    BundleModel,
    BundleNet,
    BundlePreprocess,
    Golden,
)
from resnet_deploy.ship.manifest_rules import path_problem
from resnet_deploy.ship.write import BundleContents, write_bundle

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BUNDLE_SUFFIX = ".bundle"
_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleOptions:
    """What goes into a bundle.

    Attributes:
        files: Engines and at most one ONNX file, in order of preference.
        out: Its folder, `NAME.bundle`.
        fallback: Without a named ONNX file, take the one that the engines came from.
        golden: JPEG or PNG; None makes an image up.
        licence: Text on the weights' licence; None takes what the manifests of the chain say.
        version: Of the bundle; None takes the date.
        created: Written into it; None takes the time of day.
        private_key: Signs it.
        archive: Make `NAME.bundle.tar.gz`, too.
        force: Make it again where it is up to date, and replace a bundle that this command did not make.
    """

    files: tuple[Path, ...]
    out: Path
    fallback: bool = True
    golden: Path | None = None
    licence: str | None = None
    version: str | None = None
    created: datetime | None = None
    private_key: Ed25519PrivateKey | None = None
    archive: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if Path(self.out).suffix != BUNDLE_SUFFIX or not Path(self.out).stem:
            raise ConfigError(f"{self.out}: a bundle is named NAME{BUNDLE_SUFFIX}", remedy=f"--out {self.out}.bundle")
        if problem := path_problem(Path(self.out).stem):
            raise ConfigError(
                f"{self.out}: the name of a bundle travels in it, and {problem}", remedy="--out net.bundle"
            )
        if self.version is not None and not self.version.strip():
            raise ConfigError("the version of the bundle is empty", remedy="leave it away to take the date")
        if self.licence is not None and not self.licence.strip():
            raise ConfigError("the licence text is empty", remedy="say under which terms the weights may be used")


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledModel:
    """A model as it lies in the bundle.

    Attributes:
        file: It was copied from.
        runs_on: Compute capabilities of an engine; empty for ONNX.
        nearest_fault, fault_distance: See `pipeline.bundle.self_tests.MeasuredTest`.
        run_here: Whether its self-test passed where the bundle was made, or why it was not run.
    """

    path: str
    file: Path
    precision: str
    product: str
    runs_on: tuple[str, ...]
    max_batch: int
    max_abs_error: float
    nearest_fault: str
    fault_distance: float
    run_here: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleResult:
    """Attributes:
    file: The bundle's folder.
    archive: The archive, where one was asked for.
    warnings: What a person should know before shipping it.
    """

    file: Path
    archive: Path | None
    name: str
    version: str
    is_signed: bool
    num_files: int
    size_bytes: int
    models: tuple[BundledModel, ...]
    warnings: tuple[str, ...]
    seconds: float
    skipped: bool


def make_bundle(options: BundleOptions, progress: Progress = NO_PROGRESS) -> BundleResult:
    """Write a bundle, or find it up to date.

    Raises:
        ArtifactError, ArtifactMismatchError: See `find_sources`.
        ConfigError: A file that a bundle can not hold, or `out` is there and is no bundle of this command.
        EngineRunError: ONNX Runtime failed on the golden image.
    """
    began = time.perf_counter()
    sources = find_sources(options.files, fallback=options.fallback)
    record = _record(options, sources)
    known = is_up_to_date(options.out, stage="bundle", **record) and is_whole(options.out)
    if not known or options.force:
        known = False
        check_replaceable(options.out, replace=options.force or _is_ours(options.out))
        manifest, tests, run_here = _write(options, sources, progress)
        details = _details(options, sources, manifest, tests, run_here)
        write_manifest(
            options.out,
            kind="bundle",
            stage="bundle",
            packages=_PACKAGES,
            parent=sources[0].manifest,
            details=details,
            **record,
        )
    archive = pack_bundle(options.out, force=options.force, progress=progress) if options.archive else None
    found = read_manifest(options.out).details
    return BundleResult(
        file=options.out,
        archive=archive,
        models=tuple(BundledModel(**{**model, "file": Path(model["file"])}) for model in _tuples(found["models"])),
        warnings=tuple(found["warnings"]),
        **{name: found[name] for name in ("name", "version", "num_files", "size_bytes")},
        is_signed=_signature_of(options.out) is not None,
        seconds=time.perf_counter() - began,
        skipped=known,
    )


def _record(options: BundleOptions, sources: tuple[ModelSource, ...]) -> dict[str, Any]:
    """What the bundle is made from, and the options that change it; what `is_up_to_date` compares."""
    inputs: dict[str, Path] = {}
    for source in sources:
        role = source.manifest.kind
        number = sum(name.split(" ")[0] == role for name in inputs) + 1
        inputs[role if number == 1 else f"{role} {number}"] = source.file
    if options.golden is not None:
        inputs["golden"] = options.golden
    key = options.private_key
    if key is not None:
        from resnet_deploy.ship.signature import key_fingerprint

    chosen = {
        "name": options.out.stem,
        "order": [source.manifest.sha256 for source in sources],
        "licence": options.licence,
        "version": options.version,
        "signed_by": key_fingerprint(key.public_key()) if key is not None else None,
    }
    return {"inputs": inputs, "options": chosen}


def _is_ours(out: Path) -> bool:
    """Whether the bundle that is there is one of this command, which a newer one may replace, as of every stage."""
    try:
        return read_manifest(out).stage == "bundle"
    except ArtifactError:
        return False


def _write(
    options: BundleOptions, sources: tuple[ModelSource, ...], progress: Progress
) -> tuple[BundleManifest, tuple[MeasuredTest, ...], dict[str, str]]:
    """The manifest, the self-tests, and what `_run_engines` found."""
    first = sources[0].manifest
    given = given_golden(options.golden, first.preprocess) if options.golden is not None else None
    paths = bundle_paths(sources)
    forms = [form_of(source) for source in sources]
    settings = [Setting(source=source, tf32=uses_tf32(source)) for source in sources]
    image, tests = measure_self_tests(
        settings, first.preprocess, golden=given.image if given is not None else None, progress=progress
    )
    models = tuple(
        describe_model(source, path, form, measured.test)
        for source, path, form, measured in zip(sources, paths, forms, tests, strict=True)
    )
    run_here = _run_engines(sources, models, image)
    contents = BundleContents(
        models={path: (source.file, source.manifest.sha256) for source, path in zip(sources, paths, strict=True)},
        labels=first.labels if first.net.output is not OutputKind.FEATURES else None,
        golden_pixels=image.pixels if given is None else None,
        golden_file=given.bytes if given is not None else None,
        golden_name=given.name if given is not None else "golden.png",
        weights_licence=options.licence or weights_licence(sources),
        engines=tuple((model.product, model.version) for model in models if model.format == "engine"),
    )
    progress.start(f"write {options.out.name}", len(paths))
    manifest = write_bundle(
        options.out,
        contents,
        lambda files: _manifest(options, sources, models, image, contents, files),
        private_key=options.private_key,
        progress=progress,
    )
    return manifest, tests, run_here


def _run_engines(
    sources: tuple[ModelSource, ...], models: tuple[BundleModel, ...], image: GoldenImage
) -> dict[str, str]:
    """Path of each engine -> what came of its self-test here, or why it was not run.

    Raises:
        EngineRunError: An engine that runs here does not give what its ONNX file gives.
    """
    found = {}
    for source, model in zip(sources, models, strict=True):
        if source.is_engine:
            check = run_self_test(source.file, model, image, source.manifest.preprocess)
            if check.state is CheckState.FAILED:
                raise EngineRunError(f"{source.file} fails its self-test: {check.detail}", remedy=check.remedy)
            found[model.path] = f"{check.state}: {check.detail}"
    return found


def _manifest(options, sources, models: tuple[BundleModel, ...], image: GoldenImage, contents, files) -> BundleManifest:
    net, created = sources[0].manifest.net, options.created or datetime.now(timezone.utc)
    has_classes = net.output is not OutputKind.FEATURES
    return BundleManifest(
        schema=BUNDLE_SCHEMA,
        name=options.out.stem,
        version=options.version or created.date().isoformat(),
        created=created.isoformat(timespec="seconds"),
        made_by={"resnet-deploy": __version__},
        net=BundleNet(name=net.name, num_classes=net.num_classes if has_classes else 0, output=net.output),
        preprocess=BundlePreprocess.of(sources[0].manifest.preprocess),
        labels="labels.txt" if contents.labels else None,
        golden=Golden(image=contents.golden_name, pixels_sha256=sha256_of_bytes(image.crop.tobytes())),
        licences="LICENCES.txt",
        files=files,
        models=models,
    )


def _details(
    options: BundleOptions,
    sources: tuple[ModelSource, ...],
    manifest: BundleManifest,
    tests: tuple[MeasuredTest, ...],
    run_here: dict[str, str],
) -> dict[str, Any]:
    models = [
        {
            "path": model.path,
            "file": str(source.file),
            "precision": str(model.precision),
            "product": model.product,
            "runs_on": model.compute_capabilities,
            "max_batch": model.max_batch,
            "max_abs_error": model.self_test.max_abs_error,
            "nearest_fault": measured.nearest_fault,
            "fault_distance": measured.fault_distance,
            "run_here": run_here.get(model.path, "passed: it gave the expected output"),
        }
        for source, model, measured in zip(sources, manifest.models, tests, strict=True)
    ]
    return {
        "name": manifest.name,
        "version": manifest.version,
        "num_files": len(manifest.files),
        "size_bytes": sum(entry.size_bytes for entry in manifest.files),
        "models": models,
        "warnings": _warnings(options, sources, manifest, tests),
    }


def _warnings(options, sources, manifest: BundleManifest, tests: tuple[MeasuredTest, ...]) -> list[str]:
    found = []
    for model, measured in zip(manifest.models, tests, strict=True):
        if measured.is_blind:
            found.append(
                f"{model.path}: on this image the self-test hardly tells a wrong pixel path ({measured.nearest_fault}) "
                f"from rounding: {measured.fault_distance:.1f} times the limit"
            )
    if options.licence is None and weights_licence(sources) is None:
        found.append("no file of the chain says under which licence the weights are; LICENCES.txt says so")
    if not any(model.format == "onnx" for model in manifest.models):
        found.append("without an ONNX file it opens on the GPUs of its engines only")
    if manifest.labels is None and manifest.net.num_classes:
        found.append("the files name no labels: applications get class numbers")
    return found


def pack_bundle(folder: Path, *, force: bool = False, progress: Progress = NO_PROGRESS) -> Path:
    """The archive beside a bundle's folder, made where it is not there, or not of the bundle as it now is."""
    out = folder.with_name(folder.name + ARCHIVE_SUFFIX)
    record = {"inputs": {"bundle": folder}, "options": {"signed": _signature_of(folder)}}
    if force or not is_up_to_date(out, stage="bundle", **record):
        progress.start(f"write {out.name}", None)
        write_archive(folder, out)
        write_manifest(out, kind="bundle", stage="bundle", **record)
    return out


def _signature_of(folder: Path) -> str | None:
    path = folder / SIGNATURE_FILE
    return path.read_bytes().hex() if path.is_file() else None


def _tuples(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**model, "runs_on": tuple(model["runs_on"])} for model in models]
