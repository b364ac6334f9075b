"""`diverge`: the first layer at which two files of one network part, and whose fault it is."""

from __future__ import annotations

__all__ = ["DivergeOptions", "diverge"]

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet_deploy.core.artifacts import is_up_to_date, write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import check_writable
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import ImageSource
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.graph.hybrid import GraphPair
from resnet_deploy.pipeline.faults.contenders import Contender, common_pixels, open_contender
from resnet_deploy.verify.accuracy import sampled_images
from resnet_deploy.verify.faults.divergence import BatchReader, compare_layers, measure_output
from resnet_deploy.verify.faults.divergence_result import (
    ComparedFile,
    Divergence,
    LayerDivergence,
    divergence_path,
    read_divergence,
)
from resnet_deploy.verify.faults.divergence_rule import limit_of

_PACKAGES = ("numpy", "onnx", "onnxruntime-gpu", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
_NOISE = "noise"
_MARKS_MATTER_DB = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DivergeOptions:
    """What to compare, and on what.

    Attributes:
        reference, candidate: Two forms of one network: checkpoint, ONNX or engine.
        reference_backend, candidate_backend: None takes the file type's own.
        data: What `data.source.open_images` takes; None feeds noise, on which scales are not judged.
        num_images: A stratified sample of that many.
        by: "layer" marks every layer; "block" the ends of the blocks, then the layers of the first block at fault,
            which leaves the rest of the network fused as it is; None takes "block" for engines, else "layer".
        preprocess: For files without a manifest, or to have one way for both.
        out: None puts `<candidate's file name>.divergence.json` beside the candidate.
    """

    reference: Path
    candidate: Path
    reference_backend: str | None = None
    candidate_backend: str | None = None
    data: str | None = None
    split: str | None = None
    num_images: int = 32
    by: str | None = None
    preprocess: str | None = None
    num_threads: int = 0
    seed: int = 0
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.by not in (None, "layer", "block"):
            problems.append(f"by is {self.by!r}, expected layer or block")
        if self.num_images < 1:
            problems.append(f"num_images is {self.num_images}, expected at least 1")
        if min(self.num_threads, self.seed) < 0:
            problems.append(f"num_threads {self.num_threads} and seed {self.seed} must not be negative")
        if self.data is None and self.split is not None:
            problems.append(f"split {self.split} belongs to data, and none was named")
        if problems:
            raise ConfigError("diverge: " + "; ".join(problems))


def diverge(options: DivergeOptions, progress: Progress = NO_PROGRESS) -> Divergence:
    """Compare two files layer by layer and write the outcome.

    Raises:
        ArtifactError, ConfigError, DataError: A file or the images can not be used.
        GraphError: The two are not forms of one network.
        MissingDependencyError: A backend or its device is not on this machine.
    """
    started = time.perf_counter()
    out = options.out or divergence_path(options.candidate)
    source = sampled_images(options.data or _NOISE, options.split, options.num_images, options.seed)
    record = _record(options, source)
    if not options.force and is_up_to_date(out, **record):
        return replace(read_divergence(out), skipped=True)
    check_writable(out)
    with tempfile.TemporaryDirectory(prefix="resnet-deploy-") as folder:
        sides = tuple(
            open_contender(file, backend, folder=Path(folder), num_threads=options.num_threads, progress=progress)
            for file, backend in (
                (options.reference, options.reference_backend),
                (options.candidate, options.candidate_backend),
            )
        )
        found = _compared(options, sides, source, out, progress)
    found = replace(found, seconds=time.perf_counter() - started)
    parent = sides[1].subject.manifest
    details = {"first": found.first, "num_at_fault": len(found.at_fault)}
    write_result(
        found,
        out,
        kind="divergence",
        packages=_PACKAGES,
        parent=parent,
        precision=sides[1].precision,
        details=details,
        **record,
    )
    return found


def _record(options: DivergeOptions, source: ImageSource) -> dict[str, Any]:
    return {
        "stage": "diverge",
        "inputs": {
            "reference": options.reference,
            "candidate": options.candidate,
            "images": (source.description, source.fingerprint()),
        },
        "options": {
            "reference_backend": options.reference_backend,
            "candidate_backend": options.candidate_backend,
            "by": options.by,
            "preprocess": options.preprocess,
        },
    }


def _compared(
    options: DivergeOptions, sides: tuple[Contender, Contender], source: ImageSource, out: Path, progress: Progress
) -> Divergence:
    preprocess = common_pixels(*sides, options.preprocess)
    openers = (sides[0].open, sides[1].open)
    same_graph = sides[0].model == sides[1].model
    limit_db = limit_of(sides[0].precision, sides[1].precision, same_graph=same_graph)
    read = _reader(source, preprocess, options.num_threads)
    pair = GraphPair(sides[0].model, sides[1].model)
    measured = {
        "image_shape": preprocess.input_shape,
        "limit_db": limit_db,
        "judge_scales": options.data is not None and sides[0].precision not in (Precision.INT8, Precision.FP8),
        "num_threads": options.num_threads,
        "progress": progress,
    }
    progress.start("outputs without marks", None)
    whole = measure_output(pair, openers, read, limit_db)
    by = options.by or ("block" if any(side.is_engine for side in sides) else "layer")
    if by == "layer":
        layers, marked_db = compare_layers(pair, openers, read, **measured)
    else:
        layers, marked_db = _by_block(pair, sides, openers, read, measured)
    at_fault = [layer.layer for layer in layers if layer.is_divergent]
    manifest = sides[1].subject.manifest
    result = Divergence(
        file=str(out),
        net=manifest.net.name if manifest and manifest.net else "",
        reference=_side(sides[0], whole.infos[0]),
        candidate=_side(sides[1], whole.infos[1]),
        images=source.description,
        num_images=len(source),
        limit_db=limit_db,
        layers=layers,
        first=at_fault[0] if at_fault else None,
        output=whole.output,
        marked_output_db=max(-300.0, marked_db),
        uncompared=pair.missing,
    )
    return replace(result, notes=tuple(_notes(result, sides, pair, is_noise=options.data is None)))


def _by_block(
    pair: GraphPair, sides: tuple[Contender, Contender], openers: tuple, read: BatchReader, measured: dict[str, Any]
) -> tuple[tuple[LayerDivergence, ...], float]:
    """The ends of the blocks; in the first block at fault, its layers in place of its end."""
    ends = {layer.block: layer.node for layer in pair.layers}
    coarse = GraphPair(sides[0].model, sides[1].model, only=set(ends.values()))
    blocks, marked_db = compare_layers(coarse, openers, read, **measured)
    bad = next((layer.block for layer in blocks if layer.is_divergent), None)
    inside = {layer.node for layer in pair.layers if layer.block == bad}
    if len(inside) < 2:
        return blocks, marked_db
    fine = GraphPair(sides[0].model, sides[1].model, only=inside | set(ends.values()))
    layers, other_db = compare_layers(fine, openers, read, only_block=bad, **measured)
    if not any(layer.is_divergent for layer in layers):
        return blocks, min(marked_db, other_db)  # only the whole block, fused, is at fault
    joined = [row for block in blocks for row in (layers if block.block == bad else (block,))]
    return tuple(joined), min(marked_db, other_db)


def _reader(source: ImageSource, preprocess: Preprocess, num_threads: int) -> BatchReader:
    def read(batch_size: int) -> Iterator[np.ndarray]:
        for batch in input_batches(source, preprocess, batch_size=batch_size, num_threads=num_threads):
            yield batch.images

    return read


def _side(side: Contender, info: RunnerInfo) -> ComparedFile:
    return ComparedFile(
        file=str(side.subject.file),
        sha256=side.sha256,
        onnx=side.onnx.name,
        backend=info.backend,
        version=info.version,
        device=info.device,
        precision=side.precision,
    )


def _notes(found: Divergence, sides: tuple[Contender, Contender], pair: GraphPair, *, is_noise: bool) -> Iterator[str]:
    yield from (side.note for side in sides if side.note)
    if is_noise and any(layer.is_quantized for layer in found.layers):
        yield "noise was fed, for which no scale was made: scales that are only too coarse show with --data"
    if pair.is_shifted:
        yield "the candidate has unsigned ReLU outputs: its scales were not judged against what their bits can do"
    if found.uncompared:
        yield (
            f"{len(found.uncompared)} layers have no tensor of their own in the candidate and were judged with the next: "
            f"{', '.join(found.uncompared[:4])}{' ...' if len(found.uncompared) > 4 else ''}"
        )
    error = found.output.sqnr_db
    if error is not None and found.marked_output_db < min(error + _MARKS_MATTER_DB, found.limit_db + 40):
        yield (
            f"with marks the candidate gives another output ({found.marked_output_db:.1f} dB): what is fused when nothing is "
            "marked was not seen; --by block leaves more of it as it is"
        )
