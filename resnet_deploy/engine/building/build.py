"""ONNX file -> engine file, with either TensorRT product; TensorRT-RTX builds without a GPU."""

from __future__ import annotations

__all__ = ["BuildResult", "build_engine"]

import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.artifacts import (
    Manifest,
    find_manifest,
    is_up_to_date,
    read_manifest,
    update_details,
    write_manifest,
)
from resnet_deploy.core.errors import ArtifactError, ConfigError, MissingDependencyError
from resnet_deploy.core.files import atomic_write, sha256_of_file
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.builder import BuiltEngine, run_builder
from resnet_deploy.engine.building.options import BuildOptions
from resnet_deploy.engine.building.shapes import plan_shapes
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.cuda_driver import Gpu, query_cuda_driver
from resnet_deploy.engine.header import EngineHeader, read_engine_header
from resnet_deploy.engine.onnx_file import image_input, onnx_precision, tensor_specs
from resnet_deploy.engine.products import Product, import_product
from resnet_deploy.engine.targets import CURRENT, check_targets, choose_product, usual_targets
from resnet_deploy.graph.external_data import read_onnx_with_data

_STAGE = "build"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished engine.

    Attributes:
        targets: GPUs it runs on.
        runs_on: The same in words, for the product's own choices too.
        profiles: Shapes it takes; empty where the graph fixes them.
        seconds: Time the product's builder took; of the first build where this one was skipped.
        warnings: What the product warned of.
        sanity: "passed", "failed", or "not run: " with the reason.
        skipped: The file was up to date.
    """

    file: Path
    product: str
    product_version: str
    precision: Precision
    targets: tuple[str, ...]
    runs_on: str
    profiles: tuple[ShapeProfile, ...]
    seconds: float
    size_bytes: int
    warnings: tuple[str, ...]
    sanity: str
    skipped: bool

    @property
    def passed(self) -> bool:
        """False where the sanity gate found a fault."""
        return self.sanity != "failed"


def build_engine(options: BuildOptions, progress: Progress = NO_PROGRESS) -> BuildResult:
    """Build the engine of an ONNX file, write it with its manifest, and put it through the sanity gate if a GPU can.

    Ctrl-C is obeyed at the builder's next step, a few seconds later at most; then nothing is written.

    Raises:
        ConfigError: A target, shape or option that the product can not serve; lists what it can.
        GraphError: Not a whole ONNX file, or not one input with the batch as its first axis.
        MissingDependencyError: The product, or the GPU it needs, is not here.
        EngineBuildError: The product refused; carries its own words.
    """
    source = Path(options.onnx)
    model, data_files = read_onnx_with_data(source)
    parent = find_manifest(source)
    if parent is not None and parent.kind != "onnx":
        raise ArtifactError(f"{source} is of kind {parent.kind!r}, expected 'onnx'", remedy="give an ONNX file")
    tensor = image_input(model, name=str(source))
    profiles = plan_shapes(tensor, options, name=str(source))
    product = choose_product(options.product)
    options.check_product(product)
    trt = import_product(product)
    check_targets(product, trt, options.targets)
    _check_refit(product, options, data_files)
    precision = (parent.precision if parent else None) or onnx_precision(model)
    gpu = None if product.ahead_of_time and options.targets != (CURRENT,) else query_cuda_driver().gpus[0]
    options = replace(
        options,
        targets=options.targets or usual_targets(product, trt, precision),
        timing_cache=options.timing_cache or _usual_timing_cache(options.file.parent, product, trt, gpu),
    )
    made_from = {"onnx": source} | {f"onnx data {index}": file for index, file in enumerate(data_files, start=1)}
    recorded = _recorded_options(options, profiles, product, trt, gpu)
    if not options.force and is_up_to_date(options.file, stage=_STAGE, inputs=made_from, options=recorded):
        manifest = read_manifest(options.file, verify=False)
        if options.sanity and manifest.details["sanity"]["state"] == "not run":
            manifest = _through_the_gate(options.file, manifest)
        return _result(options.file, manifest, skipped=True)
    built = run_builder(trt, options, input_name=tensor.name, profiles=profiles, progress=progress)
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
        details={
            **_inherited(parent),
            **_details(header, built, options, profiles, gpu),
            "inputs": (tensor,),
            "outputs": tensor_specs(model.graph.output),
            "sanity": {
                "state": "not run",
                "reason": "the build was interrupted" if options.sanity else "not asked for",
            },
        },
    )
    if options.sanity:
        manifest = _through_the_gate(options.file, manifest)
    return _result(options.file, manifest, skipped=False)


def _check_refit(product: Product, options: BuildOptions, data_files: tuple[Path, ...]) -> None:
    if not (options.strip or options.refit):
        return
    if data_files:
        raise ConfigError(
            f"{options.onnx} keeps its weights in {data_files[0].name}, an engine is refitted from an ONNX file that has "
            "them",
            remedy="save the model with its weights inside the file, or leave --strip and --refit away",
        )
    driver = query_cuda_driver()
    if product.ahead_of_time and not driver.gpus:
        what = "without weights" if options.strip else "that can be refitted"
        raise MissingDependencyError(
            f"{product.name} builds engines {what} only where there is a GPU: {driver.reason}",
            remedy="leave the option away, or build on a machine with a GPU",
        )


def _usual_timing_cache(folder: Path, product: Product, trt: ModuleType, gpu: Gpu | None) -> Path | None:
    """One file for each version and GPU, for which alone kernel times hold; None where nothing is measured."""
    if product.ahead_of_time:
        return None
    name = re.sub(r"[^0-9A-Za-z]+", "-", gpu.name).strip("-").lower()
    return folder / f"{product.name}-{trt.__version__}-{name}.timings"


def _recorded_options(
    options: BuildOptions, profiles: tuple[ShapeProfile, ...], product: Product, trt: ModuleType, gpu: Gpu | None
) -> dict[str, Any]:
    pinned = (
        sha256_of_file(options.timing_cache) if options.pin_timing_cache and options.timing_cache.is_file() else None
    )
    return {
        "product": product.name,
        "product_version": trt.__version__,  # another version is another engine
        "targets": options.targets,
        "gpu": gpu,  # of an engine that is for the GPU it was built on
        "profiles": profiles,
        "tf32": options.tf32,
        "workspace_mib": options.workspace_mib,
        "strip": options.strip,
        "refit": options.refit,
        "pinned_timing_cache": pinned,
        "optimization_level": options.optimization_level,
        "hardware_compatibility": options.hardware_compatibility,
        "version_compatible": options.version_compatible,
        "dla_core": options.dla_core,
    }


def _write(options: BuildOptions, built: BuiltEngine) -> EngineHeader:
    with atomic_write(options.file) as partial:
        partial.write_bytes(built.data)
        header = read_engine_header(partial)
    return header


def _inherited(parent: Manifest | None) -> dict[str, Any]:
    """What an application must know of the network's form, from the ONNX file's manifest."""
    details = parent.details if parent else {}
    return {name: details[name] for name in ("form", "members", "note", "preprocess") if name in details}


def _details(
    header: EngineHeader,
    built: BuiltEngine,
    options: BuildOptions,
    profiles: tuple[ShapeProfile, ...],
    gpu: Gpu | None,
) -> dict[str, Any]:
    return {
        "product": header.product,
        "product_version": header.version,
        "targets": built.targets or header.targets,
        "target_mask": header.target_mask,
        "gpu": gpu,
        "driver": query_cuda_driver().version,
        "platform": f"{platform.system()} {platform.machine()}",
        "profiles": profiles,
        "stripped": options.strip,
        "refittable": options.strip or options.refit,
        "hardware_compatibility": options.hardware_compatibility,
        "version_compatible": options.version_compatible,
        "timing_cache": options.timing_cache.name if options.timing_cache else None,
        "parsed_layers": built.parsed_layers,
        "seconds": round(built.seconds, 3),
        "warnings": built.warnings,
        "log": built.log,
    }


def _through_the_gate(file: Path, manifest: Manifest) -> Manifest:
    from resnet_deploy.engine.sanity.gate import sanity_record

    record = sanity_record(file)
    return manifest if record == manifest.details["sanity"] else update_details(file, sanity=record)


def _result(file: Path, manifest: Manifest, *, skipped: bool) -> BuildResult:
    details = manifest.details
    sanity = details["sanity"]
    return BuildResult(
        file=file,
        product=details["product"],
        product_version=details["product_version"],
        precision=manifest.precision,
        targets=tuple(details["targets"]),
        runs_on=_runs_on(details),
        profiles=tuple(ShapeProfile(**{k: tuple(v) for k, v in one.items()}) for one in details["profiles"]),
        seconds=details["seconds"],
        size_bytes=manifest.size_bytes,
        warnings=tuple(details["warnings"]),
        sanity=f"not run: {sanity['reason']}" if sanity["state"] == "not run" else sanity["state"],
        skipped=skipped,
    )


def _runs_on(details: dict[str, Any]) -> str:
    if details["hardware_compatibility"] == "ampere-plus":
        return "sm80 and newer"
    targets = " ".join(details["targets"])
    if details["gpu"] is None or details["hardware_compatibility"] == "same-compute-capability":
        return targets
    return f"{details['gpu']['name']} ({targets})"
