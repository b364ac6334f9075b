"""From images to a calibration table: which range each quantised tensor really uses."""

from __future__ import annotations

__all__ = [
    "CalibrateOptions",
    "CalibrateResult",
    "calibrate",
    "make_table",
    "result_of",
    "write_calibration",
]

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_deploy.core.artifacts import Manifest, is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.network_methods import NETWORK_METHODS, NetworkEvidence, check_method
from resnet_deploy.quant.sample import Sample, SampleOptions, collect_sample, net_stem, open_sample
from resnet_deploy.quant.scales import UNSIGNED_LEVELS, Amax, amax_of, checked_method, scale_of_amax
from resnet_deploy.quant.statistics import TensorStatistics
from resnet_deploy.quant.statistics_file import SavedStatistics, read_statistics, write_statistics
from resnet_deploy.quant.table import CalibrationTable, TensorScale, read_table, write_table
from resnet_deploy.quant.trt_cache import trt_version_number, write_calibration_cache

_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "pillow")
_PACKAGES_OF_NETWORK_METHODS = ("torch",)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateOptions(SampleOptions):
    """What to calibrate, on which images, and how the scales are chosen.

    Attributes:
        method: See `quant.scales.checked_method`; also a name of `quant.network_methods.NETWORK_METHODS`.
        out: Table to write; None takes `<stem>.calib.json` beside the ONNX file.
        keep_statistics: Leave the statistics in `<stem>.calib.stats` beside the table.
        cache: TensorRT calibration cache to write as well.
        trt_version: Of the TensorRT that will read the cache.
    """

    method: str = "auto"
    out: Path | None = None
    keep_statistics: bool = False
    cache: Path | None = None
    trt_version: str = "8.6.1"

    def __post_init__(self) -> None:
        SampleOptions.__post_init__(self)  # `super()` does not work in a class with slots
        if self.method not in NETWORK_METHODS:
            object.__setattr__(self, "method", checked_method(self.method))
        trt_version_number(self.trt_version)

    def file(self) -> Path:
        """Where the table goes."""
        if self.out is not None:
            return Path(self.out)
        return Path(self.onnx).with_name(f"{net_stem(self.onnx)}.calib.json")

    def statistics_file(self) -> Path:
        """Where the statistics are kept, whatever the method and the table's name."""
        return self.file().with_name(f"{net_stem(self.onnx)}.calib.stats")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateResult:
    """A finished table.

    Attributes:
        num_duplicates: Images whose pixels had been seen before.
        num_constant: Images of one colour.
        warnings: What makes the ranges doubtful: a single image, repeats, images of one colour.
        notes: Tensors with a scale that is not the usual one, and why.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
        statistics: The statistics file of this sample that was read or written, if any.
        cache: The TensorRT calibration cache that was written, if any.
    """

    file: Path
    method: str
    images: str
    num_images: int
    num_distinct: int
    num_duplicates: int
    num_constant: int
    num_tensors: int
    warnings: tuple[str, ...]
    notes: dict[str, str]
    bad_images: tuple[str, ...]
    statistics: Path | None
    cache: Path | None
    seconds: float
    skipped: bool


def calibrate(options: CalibrateOptions, progress: Progress = NO_PROGRESS) -> CalibrateResult:
    """Run calibration images through the FP32 network and write the scale of every tensor that INT8 needs.

    Statistics of the same network and sample that an earlier run kept are used instead of a new pass; an
    interrupted pass goes on where it was (see `quant.sample.collect_sample`).

    Raises:
        ArtifactError: The ONNX file is missing, changed, or not FP32 of ours.
        DataError: The images can not be used.
        CalibrationError: An activation is NaN or infinite (names tensor and image), or the network does not take
            what its preprocessing gives.
        GraphError: See `quant.network_methods.check_method`; or there is nothing to quantise.
    """
    start = time.perf_counter()
    sample = open_sample(options)
    file = options.file()
    inputs = {"onnx": Path(options.onnx), "images": (sample.images.description, sample.key.fingerprint)}
    made_with = {"method": options.method, "num_images": options.num_images, "seed": options.seed}
    if options.skip_bad:
        made_with["skip_bad"] = options.skip_bad
    kept = options.statistics_file()
    saved = None if options.force else _kept_statistics(kept, sample, options.skip_bad)
    skipped = (
        not options.force
        and is_up_to_date(file, stage="calibrate", inputs=inputs, options=made_with)
        and (saved is not None or not options.keep_statistics)
    )
    used_kept = saved is not None
    if not skipped:
        model = read_network(options.onnx, sample.manifest).model
        check_method(options.method, model)
        if saved is None:
            saved = collect_sample(options, sample, model, partial=file.with_suffix(".partial"), progress=progress)
            if options.keep_statistics:
                write_statistics(saved, kept)
        else:
            progress.log(f"statistics of {saved.collected.num_images} images read from {kept}")
        progress.start(f"calibrate {file.name}: {options.method}", len(saved.collected.tensors))
        amax = None
        if options.method in NETWORK_METHODS:
            evidence = NetworkEvidence(
                model=model,
                sample=sample,
                seen=saved.collected,
                num_threads=options.num_threads,
                progress=progress,
            )
            amax = NETWORK_METHODS[options.method](evidence)
        table = make_table(saved, method=options.method, amax=amax, progress=progress)
        write_calibration(table, file, saved, inputs=inputs, made_with=made_with, parent=sample.manifest)
    if options.cache is not None:
        write_calibration_cache(
            read_table(file), read_onnx(options.onnx), options.cache, trt_version=options.trt_version
        )
    return result_of(
        file,
        network_sha256=sample.manifest.sha256,
        images=sample.images.description,
        statistics=kept if used_kept or options.keep_statistics else None,
        cache=options.cache,
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


def _kept_statistics(file: Path, sample: Sample, skip_bad: int) -> SavedStatistics | None:
    """The statistics that an earlier run kept, where they are whole and of this sample."""
    try:
        saved = read_statistics(file)
    except ArtifactError:
        return None
    whole = len(saved.positions) == sample.key.num_images
    return saved if saved.key == sample.key and whole and len(saved.bad) <= skip_bad else None


def _amax_of(statistics: TensorStatistics, method: str) -> Amax:
    signed = amax_of(statistics, method)
    return Amax(signed, amax_of(statistics, method, UNSIGNED_LEVELS) if statistics.minimum >= 0 else None)


def make_table(
    saved: SavedStatistics, *, method: str, amax: Mapping[str, Amax] | None = None, progress: Progress = NO_PROGRESS
) -> CalibrationTable:
    """The table of a whole sample's statistics.

    Args:
        method: Chooses each tensor's amax, or is the name under which `amax` was chosen.
        amax: By tensor; None lets `quant.scales.amax_of` choose.
    Raises:
        DataError: Not one image could be used.
    """
    seen = saved.collected
    if not seen.num_images:
        raise DataError(f"{saved.key.images}: no image can be used", remedy="give images that can be decoded")
    scales = {}
    for name, statistics in seen.tensors.items():
        found = _amax_of(statistics, method) if amax is None else amax[name]
        chosen, unsigned = (None if value is None else float(np.float32(value)) for value in found)
        note = ""
        if not statistics.largest:
            note = "always zero on these images, scale set to 1"
        elif not chosen:
            share = statistics.num_zeros / statistics.num_values
            note = f"{share:.2%} of its values are zeros, so {method} is 0; the largest value is taken instead"
            chosen = float(np.float32(statistics.largest))
            unsigned = None if unsigned is None else chosen
        scales[name] = TensorScale(
            amax=chosen,
            amax_unsigned=unsigned,
            scale=float(np.float32(scale_of_amax(chosen))),
            minimum=statistics.minimum,
            maximum=statistics.maximum,
            num_values=statistics.num_values,
            num_zeros=statistics.num_zeros,
            note=note,
        )
        progress.advance()
    return CalibrationTable(
        network_sha256=saved.key.network_sha256,
        method=method,
        num_images=seen.num_images,
        num_distinct=len(seen.hashes),
        num_constant=seen.num_constant,
        tensors=scales,
        images=tuple(sorted(seen.hashes)),
    )


def write_calibration(
    table: CalibrationTable,
    file: Path,
    saved: SavedStatistics,
    *,
    inputs: dict[str, Any],
    made_with: dict[str, Any],
    parent: Manifest,
) -> None:
    """Write the table and its manifest."""
    write_table(table, file)
    write_manifest(
        file,
        kind="calibration",
        stage="calibrate",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES + (_PACKAGES_OF_NETWORK_METHODS if table.method in NETWORK_METHODS else ()),
        parent=parent,
        details={
            "split": saved.key.split,
            "num_distinct": table.num_distinct,
            "num_tensors": len(table.tensors),
            "bad_images": [str(image) for image in saved.bad],
        },
    )


def result_of(
    file: Path,
    *,
    network_sha256: str,
    images: str,
    statistics: Path | None,
    cache: Path | None,
    seconds: float,
    skipped: bool,
) -> CalibrateResult:
    """What a finished table and its manifest say."""
    table = read_table(file, network_sha256=network_sha256)
    return CalibrateResult(
        file=file,
        method=table.method,
        images=images,
        num_images=table.num_images,
        num_distinct=table.num_distinct,
        num_duplicates=table.num_images - table.num_distinct,
        num_constant=table.num_constant,
        num_tensors=len(table.tensors),
        warnings=_warnings(table),
        notes={name: scale.note for name, scale in table.tensors.items() if scale.note},
        bad_images=tuple(read_manifest(file, kind="calibration").details.get("bad_images", ())),
        statistics=statistics,
        cache=cache,
        seconds=seconds,
        skipped=skipped,
    )


def _warnings(table: CalibrationTable) -> tuple[str, ...]:
    found = []
    if table.num_distinct == 1:
        found.append("one image: its ranges are not representative; take some hundred different ones")
    if table.num_images > table.num_distinct:
        found.append(f"{table.num_images - table.num_distinct} of {table.num_images} images are repeats")
    if table.num_constant:
        found.append(f"{table.num_constant} of {table.num_images} images are of one colour")
    return tuple(found)
