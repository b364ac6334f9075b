"""One pass over calibration images: which range each quantised tensor really uses."""

from __future__ import annotations

__all__ = ["CalibrateOptions", "CalibrateResult", "Collected", "calibrate", "collect_statistics"]

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from resnet_deploy.core.artifacts import is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, DataError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.bad_images import BadImage, BadImages
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.scales import METHODS, amax_of, scale_of_amax
from resnet_deploy.quant.statistics import TensorStatistics
from resnet_deploy.quant.table import CalibrationTable, TensorScale, read_table, write_table

_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "pillow")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateOptions:
    """What to calibrate, and on which images.

    There is no batch size: every image is one forward pass of one thread, so that the table is the same, bit
    for bit, for any number of threads and any order of the images. A batched pass is not: ONNX Runtime sums
    in another order where the batch or the number of threads inside an operator is another.

    Attributes:
        onnx: FP32 file that `export` wrote.
        data: What `data.source.open_images` takes.
        split: Part of the data; the held-out part is never taken unless asked for by name.
        num_images: At most so many, spread evenly over the classes.
        method: A name of `quant.scales.METHODS`.
        seed: Chooses the images.
        skip_bad: So many of them may be unusable; they are left out and listed.
        out: Table to write; None takes `<stem>.calib.json` beside the ONNX file.
        num_threads: Images at a time; 0 takes the number of processors. Has no effect on the result.
        force: Calibrate even where the table is up to date.
    """

    onnx: Path
    data: str
    split: str = "train"
    num_images: int = 512
    method: str = "entropy"
    seed: int = 0
    skip_bad: int = 0
    out: Path | None = None
    num_threads: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.num_images < 1:
            problems.append(f"num_images is {self.num_images}, expected at least 1")
        if self.method not in METHODS:
            problems.append(f"method is {self.method!r}, expected one of {', '.join(METHODS)}")
        if min(self.seed, self.num_threads, self.skip_bad) < 0:
            problems.append(
                f"seed {self.seed}, num_threads {self.num_threads} and skip_bad {self.skip_bad} must not be negative"
            )
        if problems:
            raise ConfigError("calibrate: " + "; ".join(problems))

    def file(self) -> Path:
        """Where the table goes."""
        if self.out is not None:
            return Path(self.out)
        stem = Path(self.onnx).name.removesuffix(".onnx").removesuffix(f".{Precision.FP32}")
        return Path(self.onnx).with_name(f"{stem}.calib.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrateResult:
    """A finished table.

    Attributes:
        num_duplicates: Images whose pixels had been seen before.
        notes: Tensors with a scale that is not the usual one, and why.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
    """

    file: Path
    method: str
    images: str
    num_images: int
    num_distinct: int
    num_duplicates: int
    num_constant: int
    num_tensors: int
    notes: dict[str, str]
    bad_images: tuple[str, ...]
    seconds: float
    skipped: bool


def calibrate(options: CalibrateOptions, progress: Progress = NO_PROGRESS) -> CalibrateResult:
    """Run calibration images through the FP32 network and write the scale of every tensor that INT8 needs.

    Raises:
        ArtifactError: The ONNX file is missing, changed, or not FP32 of ours.
        DataError: The images can not be used.
        CalibrationError: An activation is NaN or infinite; names the tensor.
    """
    start = time.perf_counter()
    manifest = read_manifest(options.onnx, kind="onnx")
    if manifest.precision is not Precision.FP32 or manifest.preprocess is None:
        raise ArtifactError(
            f"{options.onnx} is {manifest.precision}, calibration needs the FP32 file and its preprocessing",
            remedy="make one with `resnet-deploy export`",
        )
    source = open_images(options.data, split=options.split)
    images = stratified_sample(source, options.num_images, seed=options.seed)
    file = options.file()
    inputs = {"onnx": Path(options.onnx), "images": (images.description, images.fingerprint())}
    made_with = {"method": options.method, "num_images": options.num_images, "seed": options.seed}
    if options.skip_bad:
        made_with["skip_bad"] = options.skip_bad
    bad = BadImages(options.skip_bad)
    skipped = not options.force and is_up_to_date(file, stage="calibrate", inputs=inputs, options=made_with)
    if skipped:
        table = read_table(file, network_sha256=manifest.sha256)
    else:
        model = read_onnx(options.onnx)
        tensors = find_placement(model).tensors
        seen = collect_statistics(
            model, tensors, images, manifest.preprocess, num_threads=options.num_threads, bad=bad, progress=progress
        )
        progress.start(f"calibrate {file.name}: {options.method}", len(tensors))
        table = _make_table(seen, manifest.sha256, options.method, progress)
        write_table(table, file)
        write_manifest(
            file,
            kind="calibration",
            stage="calibrate",
            inputs=inputs,
            options=made_with,
            packages=_PACKAGES,
            parent=manifest,
            details={
                "split": options.split,
                "num_distinct": table.num_distinct,
                "num_tensors": len(table.tensors),
                "bad_images": [str(image) for image in bad],
            },
        )
    return CalibrateResult(
        file=file,
        method=table.method,
        images=images.description,
        num_images=table.num_images,
        num_distinct=table.num_distinct,
        num_duplicates=table.num_images - table.num_distinct,
        num_constant=table.num_constant,
        num_tensors=len(table.tensors),
        bad_images=tuple(read_manifest(file, kind="calibration").details.get("bad_images", ())),
        notes={name: scale.note for name, scale in table.tensors.items() if scale.note},
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


@dataclass(kw_only=True, slots=True)
class Collected:
    """Statistics of some images; those of two shards can be merged."""

    tensors: dict[str, TensorStatistics]
    hashes: set[str] = field(default_factory=set)
    num_images: int = 0
    num_constant: int = 0

    def count_image(self, pixels: np.ndarray) -> None:
        """Count an image [H, W, 3] uint8, whether it is new, and whether it is of one colour."""
        data = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
        self.hashes.add(sha256_of_bytes(data))
        self.num_images += 1
        self.num_constant += bool((pixels == pixels[0, 0]).all())

    def merge(self, other: Collected) -> None:
        """Add another shard."""
        for name, statistics in self.tensors.items():
            statistics.merge(other.tensors[name])
        self.hashes |= other.hashes
        self.num_images += other.num_images
        self.num_constant += other.num_constant


def collect_statistics(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    images: ImageSource,
    preprocess: Preprocess,
    *,
    num_threads: int = 0,
    bad: BadImages | None = None,
    progress: Progress = NO_PROGRESS,
) -> Collected:
    """One forward pass per image over an in-memory copy of `model` that also gives out `tensors`.

    Each thread keeps statistics of its own and runs the network on one processor thread; memory is one
    image's activations per thread.

    Args:
        bad: Takes note of images that can not be used, which are left out; None allows none.
    Raises:
        DataError: More images than `bad` allows, or all, can not be used.
    """
    unusable = BadImages() if bad is None else bad
    workers = num_threads or os.cpu_count() or 1
    session = open_session(_with_outputs(model, tensors), num_threads=1)
    computed = [name for name in tensors if name != "images"]
    progress.start(f"calibrate: {images.description}", len(images))

    def run_share(indices: range) -> Collected:
        mine = Collected(tensors={name: TensorStatistics() for name in tensors})
        for index in indices:
            if stop.is_set():
                break
            name = images.name(index)
            try:
                pixels = crop_pixels(images.image(index), preprocess, name=name)
            except DataError as error:
                unusable.add(BadImage.of(index, name, error))
                continue
            mine.count_image(pixels)
            batch = normalize(pixels, preprocess)[None]
            if "images" in mine.tensors:
                mine.tensors["images"].update(batch, name="images")
            for name, values in zip(computed, session.run(computed, {"images": batch}), strict=True):
                mine.tensors[name].update(values, name=name)
            progress.advance()
        return mine

    stop = threading.Event()
    total = Collected(tensors={name: TensorStatistics() for name in tensors})
    with ThreadPoolExecutor(workers) as pool:
        try:
            shares = [pool.submit(run_share, range(first, len(images), workers)) for first in range(workers)]
            for share in shares:
                total.merge(share.result())
        finally:
            stop.set()  # after an error or Ctrl-C the other threads end at their next image
    if not total.num_images:
        raise DataError(f"{images.description}: no image can be used", remedy="give images that can be decoded")
    return total


def _with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {tensor.name for tensor in (*result.graph.input, *result.graph.output)}
    for name in tensors:
        if name not in present:
            result.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return result


def _make_table(seen: Collected, network_sha256: str, method: str, progress: Progress) -> CalibrationTable:
    scales = {}
    for name, statistics in seen.tensors.items():
        amax = float(np.float32(amax_of(statistics, method)))
        scales[name] = TensorScale(
            amax=amax,
            scale=float(np.float32(scale_of_amax(amax))),
            minimum=statistics.minimum,
            maximum=statistics.maximum,
            num_values=statistics.num_values,
            num_zeros=statistics.num_zeros,
            note="" if amax > 0 else "always zero on these images, scale set to 1",
        )
        progress.advance()
    return CalibrationTable(
        network_sha256=network_sha256,
        method=method,
        num_images=seen.num_images,
        num_distinct=len(seen.hashes),
        num_constant=seen.num_constant,
        tensors=scales,
        images=tuple(sorted(seen.hashes)),
    )
