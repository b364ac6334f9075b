"""What `estimate` answers: bounds of networks and files on GPUs, beside what was published and what was measured."""

from __future__ import annotations

__all__ = [
    "Estimate",
    "EstimateOptions",
    "NotEstimated",
    "estimate",
    "estimate_record",
    "read_estimate",
    "write_estimate",
    "write_layers",
]

import csv
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from resnet_deploy.bench.roofline.bound import IDEAL, PRECISION_OF_TYPE, RTX, bound_of_layers, layers_of_net
from resnet_deploy.bench.roofline.bound_result import LayerBound, NetworkBound
from resnet_deploy.bench.roofline.catalogue import Catalogue, Gpu, figures_of, load_catalogue
from resnet_deploy.bench.roofline.fusion import FusedLayer, as_tensorrt_rtx, fuse
from resnet_deploy.bench.roofline.measured import MeasuredShare, compare_measured
from resnet_deploy.bench.roofline.published import Comparison, compare_published
from resnet_deploy.core.artifacts import read_result, write_result
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateOptions:
    """What to estimate.

    Attributes:
        nets: Networks of the catalogue, by name. `files`: ONNX files, in the types they have.
        targets: GPUs by name.
        precisions: Of `nets`.
        batches: Images a pass.
        sizes_px: Sides of the images of `nets`; empty takes each network's own.
        tf32: FP32 may run at TF32's rate.
        layers: Give the layers, too.
        published: Compare with published measurements, on `targets` or, where there are none, on all.
        measured: A benchmark's file to compare with.
        catalogue: A file with more GPUs.
    """

    nets: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    targets: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = MAIN_PRECISIONS
    batches: tuple[int, ...] = (1, 8, 32)
    sizes_px: tuple[int, ...] = ()
    tf32: bool = False
    layers: bool = False
    published: bool = False
    measured: Path | None = None
    catalogue: Path | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.batches or min(self.batches) < 1:
            problems.append(f"batches are {list(self.batches)}, expected one or more positive numbers")
        if self.sizes_px and min(self.sizes_px) < 1:
            problems.append(f"sizes are {list(self.sizes_px)}, expected positive numbers")
        if not self.precisions and self.nets:
            problems.append("no precision was given")
        if (self.nets or self.files) and not self.targets:
            problems.append("no GPU was named")
        if not (self.nets or self.files or self.published or self.measured):
            problems.append("nothing to estimate was named")
        if problems:
            raise ConfigError(
                "; ".join(problems), remedy="e.g. --depth 50 --target l4,orin-agx; `estimate --list` shows the GPUs"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class NotEstimated:
    """A bound that can not be given, and why."""

    net: str
    target: str
    precision: Precision
    fusion: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """All bounds of one call.

    Attributes:
        gpus: The GPUs that were estimated or compared, with every figure.
        sources: Key -> words, of those figures.
        networks: A row for each network, size, GPU, precision and batch; with fusion "tensorrt-rtx" a second one for
            INT8 and FP8 where that product serves the GPU.
        layers: Of every row of `networks`, if they were asked for.
        published, measured: Comparisons, if they were asked for.
        created: UTC, ISO 8601.
    """

    gpus: tuple[Gpu, ...]
    sources: dict[str, str]
    networks: tuple[NetworkBound, ...]
    layers: tuple[LayerBound, ...]
    not_estimated: tuple[NotEstimated, ...]
    published: tuple[Comparison, ...]
    measured: tuple[MeasuredShare, ...]
    created: str


def estimate(options: EstimateOptions) -> Estimate:
    """Compute all that `options` ask for; needs no GPU.

    Raises:
        ConfigError: An unknown network, size or GPU.
        ArtifactError, GraphError: A file that is missing, broken, or has shapes that are not known.
    """
    catalogue = load_catalogue(options.catalogue)
    targets = tuple({gpu.name: gpu for gpu in map(catalogue.find, options.targets)}.values())
    subjects = list(_subjects(options))
    networks, layers, refused = [], [], []
    for subject in subjects:
        for gpu in targets:
            for fusion in _fusions(subject.precision, gpu):
                try:
                    for batch in options.batches:
                        network, own = subject.bound(gpu, batch=batch, fusion=fusion, tf32=options.tf32)
                        networks.append(network)
                        layers += own if options.layers else ()
                except ConfigError as error:
                    refused.append(
                        NotEstimated(
                            net=subject.net, target=gpu.name, precision=subject.precision, fusion=fusion,
                            reason=error.message,
                        )
                    )  # fmt: skip
    names = tuple(gpu.name for gpu in targets)
    published = compare_published(catalogue, targets=names) if options.published else ()
    measured = _compare_benchmark(options, catalogue, names)
    used = {
        **{gpu.name: gpu for gpu in targets},
        **{name: catalogue.find(name) for name in (c.measured.gpu for c in published)},
        **{name: catalogue.find(name) for name in (m.target for m in measured if m.target)},
    }
    keys = {figure.source for gpu in used.values() for _, figure in figures_of(gpu)}
    return Estimate(
        gpus=tuple(used.values()),
        sources={key: text for key, text in catalogue.sources.items() if key in keys},
        networks=tuple(networks),
        layers=tuple(layers),
        not_estimated=tuple(refused),
        published=published,
        measured=measured,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def estimate_record(options: EstimateOptions) -> dict[str, Any]:
    """What the manifest of an estimate says of how it was made: stage, input files and options."""
    named = {"benchmark": options.measured, "catalogue": options.catalogue}
    inputs = {f"file {i}": file for i, file in enumerate(options.files)}
    names = ("nets", "targets", "precisions", "batches", "sizes_px", "tf32", "layers", "published")
    return {
        "stage": "estimate",
        "inputs": {**inputs, **{role: file for role, file in named.items() if file is not None}},
        "options": {name: getattr(options, name) for name in names},
    }


def write_estimate(result: Estimate, out: Path, options: EstimateOptions) -> None:
    """Write the result and its manifest, which names the files it was made from."""
    write_result(result, out, kind="estimate", packages=("torch", "onnx"), **estimate_record(options))


def write_layers(result: Estimate, file: Path) -> None:
    """Write the layers of a result as CSV, a column for each attribute of `LayerBound`."""
    names = [item.name for item in fields(LayerBound)]
    with atomic_write(file) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(to_plain(layer) for layer in result.layers)


def read_estimate(file: Path) -> Estimate:
    """Read what `write_estimate` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Estimate, file, manifest_kind="estimate")


def _fusions(precision: Precision, gpu: Gpu) -> tuple[str, ...]:
    """TensorRT-RTX's kernels differ from the ideal ones in eight bits only."""
    differs = precision in (Precision.INT8, Precision.FP8) and RTX in gpu.products
    return (IDEAL, RTX) if differs else (IDEAL,)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """A network in a precision and size: its layers with ideal fusion."""

    net: str
    precision: Precision
    sides_px: tuple[int, int]
    layers: tuple[FusedLayer, ...]

    def bound(self, gpu: Gpu, *, batch: int, fusion: str, tf32: bool) -> tuple[NetworkBound, tuple[LayerBound, ...]]:
        layers = as_tensorrt_rtx(self.layers) if fusion == RTX else self.layers
        return bound_of_layers(
            layers, net=self.net, sides_px=self.sides_px, precision=self.precision, batch=batch, gpu=gpu, tf32=tf32,
            fusion=fusion,
        )  # fmt: skip


def _subjects(options: EstimateOptions) -> Iterator[_Subject]:
    if options.nets:
        from resnet_deploy.bench.roofline.module_graph import operations_of_net  # imports torch

        for net in options.nets:
            for size in options.sizes_px or (None,):
                graph = operations_of_net(net, size_px=size)
                for precision in options.precisions:
                    yield _Subject(
                        net=net, precision=precision, sides_px=(graph.height_px, graph.width_px),
                        layers=layers_of_net(net, precision=precision, size_px=size),
                    )  # fmt: skip
    for file in options.files:
        yield _subject_of_file(file)


def _subject_of_file(file: Path) -> _Subject:
    from resnet_deploy.bench.roofline.onnx_graph import operations_of_model
    from resnet_deploy.graph.files import parse_onnx

    graph = operations_of_model(parse_onnx(file, again="make it again with `resnet-deploy export`"))
    layers = fuse(graph)
    products: dict[str, int] = {}
    for layer in layers:
        if layer.multiply_adds:
            products[layer.type] = products.get(layer.type, 0) + layer.multiply_adds
    main = max(products, key=products.__getitem__, default="float32")
    return _Subject(
        net=file.name, precision=PRECISION_OF_TYPE.get(main, Precision.FP32), sides_px=(graph.height_px, graph.width_px),
        layers=layers,
    )  # fmt: skip


def _compare_benchmark(
    options: EstimateOptions, catalogue: Catalogue, names: tuple[str, ...]
) -> tuple[MeasuredShare, ...]:
    if options.measured is None:
        return ()
    from resnet_deploy.bench.run import read_benchmark

    return compare_measured(read_benchmark(options.measured).rows, catalogue, targets=names, tf32=options.tf32)
