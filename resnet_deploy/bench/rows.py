"""The result of a benchmark: one row for each way a file was run, and what describes the file in it."""

from __future__ import annotations

__all__ = ["BenchRow", "Benchmark", "Described", "cost_of", "read_benchmark", "weights_of"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.bench.machine.conditions import Conditions
from resnet_deploy.bench.machine.energy import Energy
from resnet_deploy.bench.machine.environment import Environment
from resnet_deploy.bench.machine.validity import VALID, Validity
from resnet_deploy.bench.measure.application import Application
from resnet_deploy.bench.measure.interleave import Interleaved
from resnet_deploy.bench.measure.timing import Sampling, Timing
from resnet_deploy.bench.options import BenchTarget
from resnet_deploy.core.artifacts import Manifest, find_manifest, manifest_path, read_manifest, read_result
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net

_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRow:
    """One file on one backend at one batch size, in one mode.

    Attributes:
        timing: None where it was not run; `reason` then says why ("not run: no CUDA device").
        parameters, multiply_adds: Of the network, per image; None where no manifest names it.
        file_mib: Of the file that was run.
        build_seconds: What making the file took, as its manifest has it.
        gmacs_per_second: Multiply-adds achieved, 1e9 / s.
        weights: "trained", "random, seed 0" where only latency means something, or "unknown".
        cuda_graphs: Whether the passes were replayed as CUDA graphs.
        note: What ran in place of the file's own arithmetic, or of what was asked for.
        mode: "kernel": passes, inputs and outputs staying where the backend computes; "application": whole requests,
            from the bytes of JPEG files to the five best classes.
        threads: Processor threads of the backend; 0 is all.
        workers: Runners that shared the network and ran at the same time, each in a thread of its own.
        repeat: Which of several measurements of the same row it is, from 0; each opens the file anew.
        application: The stages of a request and the pipelined throughput; None in kernel mode.
        conditions: What the machine did meanwhile.
        energy: Of one image.
        validity: Whether the figures may be quoted, and why not.
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
    mode: str = "kernel"
    threads: int = 0
    workers: int = 1
    repeat: int = 0
    application: Application | None = None
    conditions: Conditions | None = None
    energy: Energy | None = None
    validity: Validity = VALID

    @property
    def is_emulated(self) -> bool:
        """Whether FP16 operations ran as FP32 between casts: such a row is a numerical reference, no speed."""
        on_ort = self.backend in ("onnxruntime", "onnxruntime-cpu")
        return on_ort and self.device == "cpu" and self.precision not in (None, Precision.FP32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """All rows of one run and the machine they were measured on.

    Attributes:
        environment: When the run began.
        load_1min_after: When it ended.
        threads: That were asked for; 0 is all.
        interleaved: Files against the first one, where they took turns.
        validity: Of the run; each row has its own.
    """

    file: str
    rows: tuple[BenchRow, ...]
    environment: Environment
    load_1min_after: float | None
    sampling: Sampling
    threads: tuple[int, ...]
    seconds: float
    created: str
    interleaved: tuple[Interleaved, ...] = ()
    validity: Validity = VALID

    @property
    def is_valid(self) -> bool:
        """Whether the run and all its timed rows and comparisons are valid."""
        parts = [row.validity for row in self.rows if row.timing is not None]
        return all(part.valid for part in (self.validity, *parts, *(pair.validity for pair in self.interleaved)))


def read_benchmark(file: Path) -> Benchmark:
    """Read what `bench` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Benchmark, file, manifest_kind="benchmark")


class Described:
    """A target with what its manifest says; reading it checks the file.

    Raises:
        ArtifactError: The file is missing, truncated or not what its manifest says.
    """

    def __init__(self, target: BenchTarget) -> None:
        self.target = target
        if not target.file.is_file():
            raise ArtifactError(f"{target.file}: no such file", remedy="check the path, or run the stage that makes it")
        self.manifest: Manifest | None = find_manifest(target.file)
        self.parameters, self.multiply_adds = cost_of(self.manifest)

    @property
    def product(self) -> str:
        """The backend that runs it where none was named."""
        found = None
        if self.manifest:
            found = self.manifest.options.get("product") or self.manifest.details.get("product")
        suffix = self.target.file.suffix
        return str(found or {".safetensors": "torch", ".onnx": "onnxruntime"}.get(suffix, "tensorrt"))

    def row(
        self,
        *,
        batch: int,
        backend: str,
        reason: str = "",
        timing: Timing | None = None,
        **found: str | int | bool | Application | Conditions | Energy | Validity | None,
    ) -> BenchRow:
        """A row of this file; `found` are further fields of BenchRow."""
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
            **{"version": "", "device": "", **found},
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
