"""Benchmark rows: files on backends at batch sizes, each with what it cost to store and to build."""

from __future__ import annotations

__all__ = [
    "BenchOptions",
    "BenchRow",
    "BenchTarget",
    "Benchmark",
    "bench",
    "cost_of",
    "read_benchmark",
    "weights_of",
]

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from resnet_deploy.bench.environment import Environment, capture_environment
from resnet_deploy.bench.inputs import input_of
from resnet_deploy.bench.timing import Sampling, Timing, measure
from resnet_deploy.core.artifacts import (
    Manifest,
    find_manifest,
    manifest_path,
    read_manifest,
    read_result,
    write_manifest,
)
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ArtifactError, ConfigError, MissingDependencyError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.runners.passes import why_not_one_pass
from resnet_deploy.nets.catalogue import find_net

_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchTarget:
    """One file on one backend; backend None takes the file type's own."""

    file: Path
    backend: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """What to time.

    Attributes:
        batches: Images per pass; each target is timed at each.
        size_px: Height and width of the images, for files that take any size; None takes the size their manifest says.
        num_threads: Processor threads; 0 takes all.
        cuda_graphs: Replay the passes of engines as CUDA graphs.
        out: The benchmark's file (JSON).
    """

    targets: tuple[BenchTarget, ...]
    out: Path
    batches: tuple[int, ...] = (1, 8)
    sampling: Sampling = field(default_factory=Sampling)
    size_px: tuple[int, int] | None = None
    num_threads: int = 0
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        problems = []
        if not self.targets:
            problems.append("no file to time was given")
        if not self.batches or min(self.batches) < 1:
            problems.append(f"batches are {list(self.batches)}, expected one or more positive numbers")
        if self.size_px is not None and min(self.size_px) < 1:
            problems.append(f"size_px is {self.size_px}, expected two positive numbers")
        if self.num_threads < 0:
            problems.append(f"num_threads is {self.num_threads}, expected 0 (all) or more")
        if problems:
            raise ConfigError("; ".join(problems), remedy="see `resnet-deploy bench --help`")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRow:
    """One file on one backend at one batch size.

    Attributes:
        timing: None where it was not run; `reason` then says why ("not run: no CUDA device").
        parameters, multiply_adds: Of the network, per image; None where no manifest names it.
        file_mib: Of the file that was run.
        build_seconds: What making the file took, as its manifest has it.
        gmacs_per_second: Multiply-adds achieved, 1e9 / s.
        weights: "trained", "random, seed 0" where only latency means something, or "unknown".
        cuda_graphs: Whether the passes were replayed as CUDA graphs.
        note: What ran in place of the file's own arithmetic, or of what was asked for.
    """

    net: str
    precision: Precision | None
    backend: str
    version: str
    device: str
    file: str
    batch: int
    timing: Timing | None
    reason: str
    parameters: int | None
    multiply_adds: int | None
    file_mib: float
    build_seconds: float | None
    gmacs_per_second: float | None
    weights: str
    cuda_graphs: bool = False
    note: str = ""

    @property
    def is_emulated(self) -> bool:
        """Whether FP16 operations ran as FP32 between casts: such a row is a numerical reference, no speed."""
        on_ort = self.backend in ("onnxruntime", "onnxruntime-cpu")
        return on_ort and self.device == "cpu" and self.precision not in (None, Precision.FP32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """All rows of one run and the machine they were measured on."""

    file: str
    rows: tuple[BenchRow, ...]
    environment: Environment
    load_1min_after: float | None
    sampling: Sampling
    num_threads: int
    seconds: float
    created: str


def bench(options: BenchOptions, progress: Progress = NO_PROGRESS) -> Benchmark:
    """Time every target at every batch size, one runner at a time in the order given, and write the rows.

    Never skipped: a measurement is of this machine now.

    Raises:
        ArtifactError: A file is missing, truncated or not what its manifest says.
        EngineRunError: A network failed while it ran.
    """
    started = time.perf_counter()
    described = [_Described(target) for target in options.targets]
    environment = capture_environment()
    progress.start("timing", len(described) * len(options.batches))
    rows: list[BenchRow] = []
    for item in described:
        rows.extend(_rows_of(item, options, progress))
    benchmark = Benchmark(
        file=str(options.out),
        rows=tuple(rows),
        environment=environment,
        load_1min_after=capture_environment().load_1min,
        sampling=options.sampling,
        num_threads=options.num_threads,
        seconds=time.perf_counter() - started,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    with atomic_write(options.out) as partial:
        partial.write_text(json.dumps(to_plain(benchmark), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_manifest(
        options.out,
        kind="benchmark",
        stage="bench",
        inputs={f"file {i}": target.file for i, target in enumerate(options.targets)},
        options={
            "batches": options.batches,
            "sampling": options.sampling,
            "size_px": options.size_px,
            "num_threads": options.num_threads,
            "cuda_graphs": options.cuda_graphs,
        },
        packages=tuple(environment.packages),
    )
    return benchmark


def read_benchmark(file: Path) -> Benchmark:
    """Read what `bench` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Benchmark, file, manifest_kind="benchmark")


class _Described:
    """A target with what its manifest says; reading it checks the file."""

    def __init__(self, target: BenchTarget) -> None:
        self.target = target
        if not target.file.is_file():
            raise ArtifactError(f"{target.file}: no such file", remedy="check the path, or run the stage that makes it")
        self.manifest: Manifest | None = find_manifest(target.file)
        self.parameters, self.multiply_adds = cost_of(self.manifest)

    def row(
        self,
        *,
        batch: int,
        backend: str,
        reason: str,
        version: str = "",
        device: str = "",
        timing: Timing | None = None,
        cuda_graphs: bool = False,
        note: str = "",
    ) -> BenchRow:
        manifest = self.manifest
        precision = manifest.precision if manifest else None
        if precision is None and manifest is not None and manifest.kind == "checkpoint":
            precision = Precision.FP16 if backend.endswith("-fp16") else Precision.FP32
        rate = None
        if timing is not None and self.multiply_adds is not None:
            rate = self.multiply_adds * timing.images_per_second / 1e9
        return BenchRow(
            net=manifest.net.name if manifest and manifest.net else self.target.file.name.split(".")[0],
            precision=precision,
            backend=backend,
            version=version,
            device=device,
            file=str(self.target.file),
            batch=batch,
            timing=timing,
            reason=reason,
            parameters=self.parameters,
            multiply_adds=self.multiply_adds,
            file_mib=self.target.file.stat().st_size / _MIB,
            build_seconds=manifest.details.get("seconds") if manifest else None,
            gmacs_per_second=rate,
            weights=weights_of(self.target.file, manifest),
            cuda_graphs=cuda_graphs,
            note=note,
        )


def weights_of(file: Path, manifest: Manifest | None) -> str:
    """Where the weights come from, by walking back to the file that says it."""
    if manifest is None:
        return "unknown"
    if "weights" in manifest.details:
        return str(manifest.details["weights"])
    if manifest.kind == "checkpoint":
        return "trained"
    for record in manifest.inputs:
        source = file.parent / record.file
        if record.role in ("onnx", "checkpoint") and source.is_file() and manifest_path(source).is_file():
            return weights_of(source, read_manifest(source, verify=False))
    return "unknown"


def cost_of(manifest: Manifest | None) -> tuple[int | None, int | None]:
    """Parameters and multiply-adds per image of the network a manifest names.

    None where it names none of the catalogue, as for an ensemble, or where the file lacks its last layers.
    """
    if manifest is None or manifest.net is None or not manifest.net.output.names_classes:
        return None, None
    from resnet_deploy.nets.cost import net_cost

    try:
        spec = find_net(manifest.net.name)
    except ConfigError:
        return None, None
    cost = net_cost(spec, num_classes=manifest.net.num_classes)
    return cost.parameters, cost.multiply_adds


def _rows_of(item: _Described, options: BenchOptions, progress: Progress) -> Iterator[BenchRow]:
    from resnet_deploy.engine.open import open_runner

    target = item.target
    try:
        runner = open_runner(
            target.file, backend=target.backend, num_threads=options.num_threads, cuda_graphs=options.cuda_graphs
        )
    except MissingDependencyError as error:
        backend = target.backend or _product_of(target.file)
        reason = _reason_for(backend, error)
        for batch in options.batches:
            yield item.row(batch=batch, backend=backend, reason=reason)
            progress.advance()
        return
    with runner:
        for batch in options.batches:
            timing, reason = None, why_not_one_pass(runner.info, batch)
            if not reason:
                timing = measure(
                    runner,
                    input_of(runner, item.manifest, batch=batch, size_px=options.size_px),
                    sampling=options.sampling,
                )
            info = runner.info  # that a graph could not be captured is known only now
            yield item.row(
                batch=batch,
                backend=info.backend,
                version=info.version,
                device=info.device,
                timing=timing,
                reason=f"not run: {reason}" if reason else "",
                cuda_graphs=info.cuda_graphs and timing is not None,
                note=info.note,
            )
            said = f"not run: {reason}" if timing is None else f"{timing.p50_ms:.1f} ms"
            progress.advance(note=f"{target.file.name} {info.backend} x{batch}: {said}")


def _reason_for(backend: str, error: MissingDependencyError) -> str:
    """Why a backend did not run: its state on this machine where that is the reason, else the error's words."""
    from resnet_deploy.engine.availability import available_backends

    status = next((s for s in available_backends() if s.name == backend), None)
    return status.reason if status is not None and status.reason else f"not run: {error.message}"


def _product_of(file: Path) -> str:
    manifest = find_manifest(file)
    product = (manifest.options.get("product") or manifest.details.get("product")) if manifest else None
    return str(product or {".safetensors": "torch", ".onnx": "onnxruntime"}.get(file.suffix, "tensorrt"))
