"""What a folder holds of measurements: runs of `bench`, and the accuracies of verdicts."""

from __future__ import annotations

__all__ = ["Findings", "MeasuredRun", "read_folder"]

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_deploy.bench.advisor.accuracy import MeasuredAccuracy
from resnet_deploy.bench.rows import Benchmark, BenchRow, read_benchmark
from resnet_deploy.core.artifacts import Manifest, manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ResnetDeployError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRun:
    """One row of a benchmark: a network that was timed with its data on the device.

    Attributes:
        device: "cpu" or the GPU's name; `cpu` is the processor of the machine.
        why_not_valid: What speaks against the row; empty where nothing does.
        joules_per_image, watts: None where they were not measured.
        source: The benchmark's file.
        created: UTC, ISO 8601.
    """

    net: str
    size_px: int
    precision: Precision
    batch: int
    backend: str
    device: str
    cpu: str
    p50_ms: float
    p99_ms: float
    images_per_second: float
    source: str
    created: str
    why_not_valid: str = ""
    joules_per_image: float | None = None
    watts: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All of a folder.

    Attributes:
        files: The benchmarks and verdicts that were read.
        left_out: What could not be used, and why.
    """

    runs: tuple[MeasuredRun, ...] = ()
    accuracies: tuple[MeasuredAccuracy, ...] = ()
    files: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()


def read_folder(folder: Path) -> Findings:
    """Read every benchmark and verdict in `folder` and below it; a broken one is left out, with the reason.

    Raises:
        ArtifactError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", remedy="name the folder that `bench` and `validate` wrote to")
    runs: list[MeasuredRun] = []
    accuracies: list[MeasuredAccuracy] = []
    files: list[Path] = []
    left_out: list[str] = []
    for file in sorted(path.with_suffix("") for path in folder.rglob("*.json.json")):
        try:
            kind = read_manifest(file, verify=False).kind
            if kind == "benchmark":
                runs.extend(_runs(file, left_out))
            elif kind == "verdict":
                accuracies.extend(_accuracies(file))
            else:
                continue
            files.append(file)
        except ResnetDeployError as error:
            left_out.append(error.message)
    return Findings(runs=tuple(runs), accuracies=tuple(accuracies), files=tuple(files), left_out=tuple(left_out))


def _runs(file: Path, left_out: list[str]) -> Iterator[MeasuredRun]:
    benchmark, manifest = read_benchmark(file), read_manifest(file, verify=False)
    emulated = 0
    for row in benchmark.rows:
        if row.timing is None or row.precision is None or row.mode != "kernel" or row.workers != 1:
            continue  # not run, or another quantity than the time of one pass
        if row.is_emulated:  # says nothing of a device that has FP16
            emulated += 1
            continue
        size_px = _size_of(row, file, manifest)
        if size_px is None:
            left_out.append(f"{file}: the image size of {row.file} is not known, its row was left out")
            continue
        yield _run(row, benchmark, file, size_px)
    if emulated:
        left_out.append(f"{file}: {emulated} rows of FP16 operations that a processor ran as FP32 were left out")


def _run(row: BenchRow, benchmark: Benchmark, file: Path, size_px: int) -> MeasuredRun:
    return MeasuredRun(
        net=row.net,
        size_px=size_px,
        precision=row.precision,
        batch=row.batch,
        backend=f"{row.backend}, {row.threads} threads" if row.threads else row.backend,
        device=row.device,
        cpu=benchmark.environment.cpu,
        p50_ms=row.timing.p50_ms,
        p99_ms=row.timing.p99_ms,
        images_per_second=row.timing.images_per_second,
        source=str(file),
        created=benchmark.created,
        why_not_valid="; ".join((*benchmark.validity.reasons, *row.validity.reasons)),
        joules_per_image=row.energy.joules_per_image if row.energy else None,
        watts=_watts(row),
    )


def _watts(row: BenchRow) -> float | None:
    """Mean power of the device while the row was timed: the GPU's board, or the processor's packages."""
    if row.conditions is None:
        return None
    if row.device != "cpu":
        return row.conditions.gpu.power_w_mean if row.conditions.gpu else None
    joules, seconds = row.conditions.package_joules, row.conditions.processors.seconds
    return joules / seconds if joules and seconds else None


def _size_of(row: BenchRow, file: Path, manifest: Manifest) -> int | None:
    """Side of the square images of a row; None where it is not square or nothing says it."""
    asked = manifest.options.get("size_px")
    if asked is not None:
        return asked[0] if asked[0] == asked[1] else None
    for record in manifest.inputs:
        source = file.parent / record.file
        if source.name == Path(row.file).name and source.is_file() and manifest_path(source).is_file():
            pixels = read_manifest(source, verify=False).preprocess
            if pixels is not None:
                return pixels.height_px if pixels.height_px == pixels.width_px else None
    try:
        return find_net(row.net).preprocess.height_px  # the size that nets of that name are exported for
    except ResnetDeployError:
        return None


def _accuracies(file: Path) -> Iterator[MeasuredAccuracy]:
    """Both sides of a verdict; read as plain data, since stages meet through files."""
    manifest = read_manifest(file, kind="verdict")
    data = json.loads(file.read_text(encoding="utf-8"))
    if manifest.net is None or not manifest.net.output.names_classes:
        return
    pixels = manifest.options.get("preprocess") or [None, None]
    for side, spec in zip(("reference", "candidate"), pixels, strict=True):
        found = _accuracy(data, side, file)
        if found is None or spec is None or spec["height_px"] != spec["width_px"]:
            continue
        yield MeasuredAccuracy(
            net=manifest.net.name,
            size_px=spec["height_px"],
            num_classes=manifest.net.num_classes,
            data=data["data"],
            source=str(file),
            created=manifest.created,
            **found,
        )


def _accuracy(data: dict[str, Any], side: str, file: Path) -> dict[str, Any] | None:
    try:
        part = data[side]
        if part["accuracy"] is None or part["precision"] is None:
            return None
        score = part["accuracy"]
        return {
            "precision": Precision(part["precision"]),
            "top1_percent": float(score["top1_percent"]),
            "low": float(score["top1_low"]),
            "high": float(score["top1_high"]),
            "num_images": int(score["num_images"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file} does not hold a verdict of this version: {error!r}") from error
