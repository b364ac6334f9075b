"""The files that a bundle is made of: what each is, the ONNX file behind each engine, and whether they are one network."""

from __future__ import annotations

__all__ = ["ModelSource", "find_sources"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.specs import OutputKind, Precision

_MAX_STEPS = 16  # of a chain of manifests; one that names itself must not hang us
_OUTPUTS = (OutputKind.LOGITS, OutputKind.SOFTMAX, OutputKind.FEATURES)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """An engine or an ONNX file that goes into a bundle.

    Attributes:
        manifest: Of `file`.
        onnx: The ONNX file that `file` was built from, or is; what says which answer is right.
    """

    file: Path
    manifest: Manifest
    onnx: Path

    @property
    def is_engine(self) -> bool:
        return self.manifest.kind == "engine"


def find_sources(files: Sequence[Path], *, fallback: bool) -> tuple[ModelSource, ...]:
    """Engines in the order given, then the ONNX file, which is found by walking the manifests where none is named.

    Args:
        fallback: Look for an ONNX file where none is named.
    Raises:
        ArtifactError: A file or its manifest is missing or damaged, or the ONNX file of an engine is gone or changed.
        ArtifactMismatchError: Two of them are not the same network.
        ConfigError: No file, several ONNX files, or a file that a bundle can not hold.
    """
    sources = [_source(Path(file)) for file in dict.fromkeys(files)]
    engines = [source for source in sources if source.is_engine]
    onnx = [source for source in sources if not source.is_engine]
    if not sources:
        raise ConfigError("no file was named", remedy="give engines, an ONNX file, or both")
    if len(onnx) > 1:
        raise ConfigError(
            f"{len(onnx)} ONNX files were named, {onnx[0].file} and {onnx[1].file}; a bundle holds one",
            remedy="name the one that is to run where no engine does",
        )
    if fallback and not onnx:
        onnx = [_source(_fallback(engines))]
    for source in (*engines, *onnx):
        _check_fits(source)
        _check_same(engines[0] if engines else onnx[0], source)
    return (*engines, *onnx)


def _source(file: Path) -> ModelSource:
    manifest = read_manifest(file)
    if manifest.kind == "onnx":
        return ModelSource(file=file, manifest=manifest, onnx=file)
    if manifest.kind == "engine":
        return ModelSource(file=file, manifest=manifest, onnx=_input_file(file, manifest, "onnx"))
    raise ConfigError(
        f"{file} is of kind {manifest.kind!r}, a bundle holds engines and one ONNX file",
        remedy="name .engine and .onnx files",
    )


def _input_file(file: Path, manifest: Manifest, role: str) -> Path:
    """The file that `file` was made from, which must be there and unchanged."""
    record = next((record for record in manifest.inputs if record.role == role), None)
    if record is None:
        raise ArtifactError(f"{file}: its manifest names no ONNX file it was built from", remedy="build it again")
    found = file.parent / record.file
    if read_manifest(found, kind="onnx").sha256 != record.sha256:
        raise ArtifactMismatchError(
            f"{found} is not the file that {file} was built from: it was made anew since",
            remedy=f"build {file.name} again with `resnet-deploy build {found}`",
        )
    return found


def _fallback(engines: Sequence[ModelSource]) -> Path:
    """FP32 where the chain has it, which every runtime computes alike; else the first engine's own ONNX file."""
    for engine in engines:
        for file, manifest in _ancestors(engine.onnx):
            if manifest.precision is Precision.FP32 and manifest.takes_pixels == engine.manifest.takes_pixels:
                return file
    return engines[0].onnx


def _ancestors(file: Path) -> Iterator[tuple[Path, Manifest]]:
    """An ONNX file and those it was made from, as far as they are there and unchanged."""
    for _ in range(_MAX_STEPS):
        manifest = read_manifest(file, kind="onnx")
        yield file, manifest
        record = next((record for record in manifest.inputs if record.role == "onnx"), None)
        if record is None:
            return
        file = file.parent / record.file
        is_whole = file.is_file() and manifest_path(file).is_file()
        if not is_whole or read_manifest(file).sha256 != record.sha256:
            return


def _check_fits(source: ModelSource) -> None:
    manifest = source.manifest
    missing = [name for name in ("net", "preprocess", "precision") if getattr(manifest, name) is None]
    if missing:
        raise ConfigError(
            f"{source.file}: its manifest does not say its {missing[0]}, which a bundle needs",
            remedy="make it again, or `resnet-deploy import` the file it was made from with --preprocess",
        )
    if manifest.net.output not in _OUTPUTS:
        raise ConfigError(
            f"{source.file}: its outputs are {manifest.net.output}, a bundle holds {', '.join(_OUTPUTS)}",
            remedy="export with --output logits; the C++ library takes the best classes itself",
        )
    if manifest.details.get("stripped"):
        raise ConfigError(
            f"{source.file} was built without its weights, which nothing in a bundle puts back",
            remedy="build it without --strip",
        )


def _check_same(first: ModelSource, other: ModelSource) -> None:
    for name in ("net", "preprocess", "labels"):
        one, two = getattr(first.manifest, name), getattr(other.manifest, name)
        if one != two:
            raise ArtifactMismatchError(
                f"{first.file} and {other.file} do not belong into one bundle: {_difference(name, one, two)}",
                remedy="name files that were made from the same checkpoint",
            )
    weights = [_checkpoint_of(source) for source in (first, other)]
    if None not in weights and weights[0] != weights[1]:
        raise ArtifactMismatchError(
            f"{first.file} and {other.file} do not belong into one bundle: they come from two checkpoints, of SHA-256 "
            f"{weights[0][:12]}... and {weights[1][:12]}...",
            remedy="name files that were made from the same checkpoint",
        )


def _checkpoint_of(source: ModelSource) -> str | None:
    """SHA-256 of the weights at the begin of the chain; None where it does not reach so far."""
    for _, manifest in _ancestors(source.onnx):
        if (digest := manifest.input_sha256("checkpoint")) is not None:
            return digest
    return None


def _difference(name: str, one: object, two: object) -> str:
    """Of records the fields that differ, else both values."""
    if not (is_dataclass(one) and type(one) is type(two)):
        return f"{name} is {_short(one)} and {_short(two)}"
    pairs = [(field.name, getattr(one, field.name), getattr(two, field.name)) for field in fields(one)]
    return "; ".join(f"{name}.{field} is {_short(a)} and {_short(b)}" for field, a, b in pairs if a != b)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:80]} ... {text[-60:]}"
