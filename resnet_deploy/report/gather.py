"""What a folder of artifacts holds, for a report: manifests, verdicts, benchmarks and training curves."""

from __future__ import annotations

__all__ = ["Entry", "Findings", "TrainingCurve", "gather"]

import json
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resnet_deploy.bench.run import Benchmark, read_benchmark, weights_of
from resnet_deploy.core.artifacts import Manifest, read_manifest
from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.core.specs import Precision

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file with a sound manifest; `name` is relative to the folder, `weights` as in `BenchRow`."""

    name: str
    manifest: Manifest
    weights: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCurve:
    """Errors in percent by epoch; `val_error` holds None where it was not measured."""

    name: str
    epochs: tuple[float, ...]
    train_error: tuple[float | None, ...]
    val_error: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Everything found; `unreadable` says what was left out and why.

    Attributes:
        verdicts: As `verify.verdict` wrote them, in plain form (stages meet through files), in the order of
            `entries`; "stale" is added: a file it speaks of has been made anew since.
    """

    entries: tuple[Entry, ...]
    verdicts: tuple[dict[str, Any], ...]
    benchmarks: tuple[Benchmark, ...]
    curves: tuple[TrainingCurve, ...]
    unreadable: tuple[str, ...]


def gather(folder: Path) -> Findings:
    """Read a folder and its subfolders; a broken file is left out with its reason, not an error.

    Raises:
        ArtifactError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", remedy="name the folder that the stages wrote to")
    unreadable: list[str] = []
    entries = []
    for path in sorted(folder.rglob("*.json")):
        file = path.with_suffix("")  # a manifest is the file's name with ".json" added
        if file.is_file():
            manifest = _attempt(lambda file=file: read_manifest(file), unreadable)
            if manifest is not None and manifest.kind != "report":
                weights = _attempt(lambda file=file, m=manifest: weights_of(file, m), unreadable) or "unknown"
                name = file.relative_to(folder).as_posix()
                entries.append(Entry(name=name, manifest=manifest, weights=weights))
    entries.sort(key=_pipeline_order)
    hashes = {entry.name: entry.manifest.sha256 for entry in entries}
    by_kind = {kind: [e for e in entries if e.manifest.kind == kind] for kind in ("verdict", "benchmark")}
    verdicts = [_attempt(lambda e=e: _verdict(folder, e, hashes), unreadable) for e in by_kind["verdict"]]
    benchmarks = [_attempt(lambda e=e: read_benchmark(folder / e.name), unreadable) for e in by_kind["benchmark"]]
    curves = [_attempt(lambda p=p: _curve(p), unreadable) for p in sorted(folder.rglob("*.metrics.jsonl"))]
    return Findings(
        entries=tuple(entries),
        verdicts=tuple(v for v in verdicts if v is not None),
        benchmarks=tuple(b for b in benchmarks if b is not None),
        curves=tuple(c for c in curves if c is not None),
        unreadable=tuple(unreadable),
    )


_ORDER = ("checkpoint", "onnx", "calibration", "engine", "verdict", "benchmark")


def _pipeline_order(entry: Entry) -> tuple:
    manifest = entry.manifest
    place = _ORDER.index(manifest.kind) if manifest.kind in _ORDER else len(_ORDER)
    precision = tuple(Precision).index(manifest.precision) if manifest.precision else -1
    return place, manifest.net.name if manifest.net else "", precision, entry.name


def _attempt(read: Callable[[], T], unreadable: list[str]) -> T | None:
    try:
        return read()
    except ResnetDeployError as error:
        unreadable.append(error.message)
        return None


def _verdict(folder: Path, entry: Entry, hashes: dict[str, str]) -> dict[str, Any]:
    file = folder / entry.name
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not {"passed", "reference", "candidate", "parity", "checks"} <= set(data):
        raise ArtifactError(f"{file} does not hold a verdict of this version")
    stale = False
    for record in entry.manifest.inputs:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), record.file))
        stale |= record.role != "images" and hashes.get(name, record.sha256) != record.sha256
    return {**data, "stale": stale}


def _curve(file: Path) -> TrainingCurve:
    epochs, train, val = [], [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            row = json.loads(line)
            epochs.append(float(row["epoch"]))
            train.append(row.get("train_error_percent"))
            val.append(row.get("val_error_percent"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{file}, line {number} is not a row of training metrics") from error
    if not epochs:
        raise ArtifactError(f"{file} is empty")
    return TrainingCurve(
        name=file.name.removesuffix(".metrics.jsonl"),
        epochs=tuple(epochs),
        train_error=tuple(train),
        val_error=tuple(val),
    )
