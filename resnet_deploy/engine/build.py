"""ONNX file -> engine file, with either TensorRT product; TensorRT-RTX builds without a GPU."""

from __future__ import annotations

__all__ = ["BatchProfile", "BuildOptions", "BuildResult", "build_engine"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from resnet_deploy.core.artifacts import Manifest, find_manifest, is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, GraphError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, TensorSpec
from resnet_deploy.engine.builder import BuiltEngine, run_builder
from resnet_deploy.engine.header import EngineHeader, read_engine_header
from resnet_deploy.engine.onnx_file import onnx_precision, tensor_specs
from resnet_deploy.engine.products import Product, find_product, import_product
from resnet_deploy.engine.targets import check_targets, choose_product, usual_targets
from resnet_deploy.graph.files import read_onnx

_STAGE = "build"


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchProfile:
    """Batch sizes an engine takes: any from `min` to `max`, tuned for `opt`."""

    min: int = 1
    opt: int = 8
    max: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ConfigError(
                f"batch profile {self.min}:{self.opt}:{self.max}",
                remedy="write min:opt:max with 1 <= min <= opt <= max",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What to build, and for which GPUs.

    Attributes:
        onnx: The file whose graph, precision included, becomes the engine.
        product: "tensorrt-rtx" or "tensorrt"; None takes the one that fits this machine.
        targets: GPUs to build for, e.g. ("sm86", "sm89"), or ("current",) for the one in this machine; empty
            takes the product's own choice: TensorRT-RTX builds for sm80 and newer (not sm75, which needs FP16
            and a build of its own; sm89 and newer for FP8), TensorRT for the GPU here.
        batch: Sizes of the first axis; a graph with a fixed batch keeps that.
        tf32: Let FP32 convolutions use TF32 tensor cores; off, because then FP32 is not FP32.
        timing_cache: File of measured kernel times to read and extend. TensorRT only.
        optimization_level: How many kernels are tried, 0 to 5; None is the product's default. TensorRT only:
            TensorRT-RTX 1.7.1 accepts a level, but builds the same bytes for each.
        out: None puts the engine beside the ONNX file.
        force: Build even where the engine is up to date.
    """

    onnx: Path
    product: str | None = None
    targets: tuple[str, ...] = ()
    batch: BatchProfile = field(default_factory=BatchProfile)
    tf32: bool = False
    timing_cache: Path | None = None
    optimization_level: int | None = None
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise ConfigError(f"optimization level is {self.optimization_level}, expected 0 to 5")
        if len(set(self.targets)) != len(self.targets):
            raise ConfigError(f"targets {', '.join(self.targets)} name one GPU twice")
        if self.product is not None:
            self.check_product(find_product(self.product))
        if self.out is not None and Path(self.out).suffix != ".engine":
            raise ConfigError(f"out is {self.out}, expected a name that ends in .engine")

    def check_product(self, product: Product) -> None:
        """Raises ConfigError where an option is set that has no effect in `product`."""
        if not product.ahead_of_time:
            return
        for name, value in (("timing cache", self.timing_cache), ("optimization level", self.optimization_level)):
            if value is not None:
                raise ConfigError(
                    f"{product.name} has no {name}, it measures nothing while it builds",
                    remedy=f"leave the {name} away, or build with product tensorrt",
                )

    @property
    def file(self) -> Path:
        """Where the engine goes."""
        return Path(self.out) if self.out is not None else Path(self.onnx).with_suffix(".engine")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished engine.

    Attributes:
        targets: GPUs it runs on.
        seconds: Time the product's builder took; of the first build where this one was skipped.
        warnings: What the product warned of.
        skipped: The file was up to date.
    """

    file: Path
    product: str
    product_version: str
    precision: Precision
    targets: tuple[str, ...]
    seconds: float
    size_bytes: int
    warnings: tuple[str, ...]
    skipped: bool


def build_engine(options: BuildOptions, progress: Progress = NO_PROGRESS) -> BuildResult:
    """Build the engine of an ONNX file and write it with its manifest.

    Ctrl-C is obeyed at the builder's next step, a few seconds later at most; then nothing is written.

    Raises:
        ConfigError: A target the product can not build for; lists those it can.
        GraphError: Not a whole ONNX file, or not one input with the batch as its first axis.
        MissingDependencyError: The product, or the GPU it needs, is not here.
        EngineBuildError: The product refused; carries its own words.
    """
    source = Path(options.onnx)
    model = read_onnx(source)
    parent = find_manifest(source)
    if parent is not None and parent.kind != "onnx":
        raise ArtifactError(f"{source} is of kind {parent.kind!r}, expected 'onnx'", remedy="give an ONNX file")
    tensor, batch = _batch_input(source, model, options.batch)
    product = choose_product(options.product)
    options.check_product(product)
    trt = import_product(product)
    check_targets(product, trt, options.targets)
    precision = (parent.precision if parent else None) or onnx_precision(model)
    options = replace(options, targets=options.targets or usual_targets(product, trt, precision))
    made_from = {"onnx": source}
    recorded = _recorded_options(options, batch, product, trt)
    if not options.force and is_up_to_date(options.file, stage=_STAGE, inputs=made_from, options=recorded):
        return _result(options.file, read_manifest(options.file, verify=False), skipped=True)
    built = run_builder(
        trt,
        source,
        input_name=tensor.name,
        shapes=None if batch is None else tuple((n, *tensor.shape[1:]) for n in (batch.min, batch.opt, batch.max)),
        targets=options.targets,
        tf32=options.tf32,
        optimization_level=options.optimization_level,
        timing_cache=options.timing_cache,
        progress=progress,
    )
    header = _write(options, built)
    manifest = write_manifest(
        options.file,
        kind="engine",
        stage=_STAGE,
        inputs=made_from,
        options=recorded,
        packages=("onnx", product.name),
        parent=parent,
        precision=precision,
        details=_details(header, built, tensor, batch, tensor_specs(model.graph.output)),
    )
    return _result(options.file, manifest, skipped=False)


def _batch_input(source: Path, model: onnx.ModelProto, batch: BatchProfile) -> tuple[TensorSpec, BatchProfile | None]:
    """The one input, and the batch profile it takes; None where the graph fixes the batch."""
    stored = {initializer.name for initializer in model.graph.initializer}
    inputs = tensor_specs(value for value in model.graph.input if value.name not in stored)
    if len(inputs) != 1 or not inputs[0].shape:
        raise GraphError(
            f"{source} has the inputs {[f'{spec.name} {list(spec.shape)}' for spec in inputs]}, "
            "expected one with the batch as its first axis"
        )
    tensor = inputs[0]
    if any(not isinstance(size, int) or size < 1 for size in tensor.shape[1:]):
        raise GraphError(
            f"{source}: input {tensor.name} is {list(tensor.shape)}, only its first axis may be dynamic",
            remedy="export it with a fixed image size",
        )
    fixed = isinstance(tensor.shape[0], int) and tensor.shape[0] > 0
    return tensor, None if fixed else batch


def _recorded_options(
    options: BuildOptions, batch: BatchProfile | None, product: Product, trt: ModuleType
) -> dict[str, Any]:
    return {
        "product": product.name,
        "product_version": trt.__version__,  # another version is another engine
        "targets": options.targets,
        "batch": batch,
        "tf32": options.tf32,
        "optimization_level": options.optimization_level,
    }


def _write(options: BuildOptions, built: BuiltEngine) -> EngineHeader:
    with atomic_write(options.file) as partial:
        partial.write_bytes(built.data)
        header = read_engine_header(partial)
    return header


def _details(
    header: EngineHeader,
    built: BuiltEngine,
    tensor: TensorSpec,
    batch: BatchProfile | None,
    outputs: tuple[TensorSpec, ...],
) -> Mapping[str, Any]:
    return {
        "product": header.product,
        "product_version": header.version,
        "targets": built.targets or header.targets,
        "target_mask": header.target_mask,
        "profile": batch or {"fixed": tensor.shape[0]},
        "inputs": (tensor,),
        "outputs": outputs,
        "parsed_layers": built.parsed_layers,
        "seconds": round(built.seconds, 3),
        "warnings": built.warnings,
    }


def _result(file: Path, manifest: Manifest, *, skipped: bool) -> BuildResult:
    details = manifest.details
    return BuildResult(
        file=file,
        product=details["product"],
        product_version=details["product_version"],
        precision=manifest.precision,
        targets=tuple(details["targets"]),
        seconds=details["seconds"],
        size_bytes=manifest.size_bytes,
        warnings=tuple(details["warnings"]),
        skipped=skipped,
    )
