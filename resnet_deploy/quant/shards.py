"""Calibration shared out among processes or machines: each takes every N-th image, one merges what they saw."""

from __future__ import annotations

__all__ = ["MergeOptions", "Shard", "ShardOptions", "ShardResult", "collect_shard", "merge_shards"]

import re
import time
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant.calibrate import (
    CalibrateResult,
    make_table,
    result_of,
    write_calibration,
)
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.network_methods import NETWORK_METHODS, NetworkEvidence, check_method
from resnet_deploy.quant.sample import (
    SampleOptions,
    collect_sample,
    net_stem,
    open_sample,
    read_fp32_manifest,
)
from resnet_deploy.quant.scales import checked_method
from resnet_deploy.quant.statistics_file import SavedStatistics, merge_statistics, read_statistics, write_statistics
from resnet_deploy.quant.trt_cache import trt_version_number, write_calibration_cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The `number`-th of `count` equal parts of a sample: images number - 1, number - 1 + count, ..."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"shard {self.number}/{self.count}: expected K/N with 1 <= K <= N")

    @classmethod
    def of(cls, text: str) -> Shard:
        """Read "2/4".

        Raises:
            ConfigError: It is no such text.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None:
            raise ConfigError(f"shard {text!r}: expected K/N, such as 2/4")
        return cls(number=int(found[1]), count=int(found[2]))

    def positions(self, num_images: int) -> range:
        """The images that are its."""
        return range(self.number - 1, num_images, self.count)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardOptions(SampleOptions):
    """One part of a sample. Data, split, number of images, seed and network must be the same for all parts.

    Attributes:
        num_images: Of the whole sample, not of the part.
        out: Statistics file to write; None takes `<stem>.KofN.stats` beside the ONNX file.
    """

    shard: Shard
    out: Path | None = None

    def file(self) -> Path:
        """Where the statistics go."""
        if self.out is not None:
            return Path(self.out)
        name = f"{net_stem(self.onnx)}.{self.shard.number}of{self.shard.count}.stats"
        return Path(self.onnx).with_name(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """A finished statistics file.

    Attributes:
        num_images: Consumed by this shard.
        sample_size: Images in the whole sample.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
    """

    file: Path
    images: str
    num_images: int
    sample_size: int
    num_distinct: int
    num_constant: int
    num_tensors: int
    bad_images: tuple[str, ...]
    seconds: float
    skipped: bool


def collect_shard(options: ShardOptions, progress: Progress = NO_PROGRESS) -> ShardResult:
    """Write the statistics of one part of the sample.

    Raises:
        ConfigError: The part is empty.
        ArtifactError, DataError, CalibrationError: As `quant.calibrate.calibrate`.
    """
    start = time.perf_counter()
    sample = open_sample(options)
    file, positions = options.file(), options.shard.positions(sample.key.num_images)
    if not positions:
        raise ConfigError(
            f"shard {options.shard.number}/{options.shard.count} is empty: the sample has {sample.key.num_images} images",
            remedy="take fewer shards or more images",
        )
    saved = None
    if file.is_file() and not options.force:
        try:
            saved = read_statistics(file)
        except ArtifactError:
            saved = None
        if saved and (saved.key, saved.positions) != (sample.key, set(positions)):
            saved = None
    skipped = saved is not None
    if saved is None:
        model = read_network(options.onnx, sample.manifest).model
        partial = file.with_suffix(".partial")
        saved = collect_sample(options, sample, model, partial=partial, positions=positions, progress=progress)
        write_statistics(saved, file)
    seen = saved.collected
    return ShardResult(
        file=file,
        images=sample.images.description,
        num_images=seen.num_images,
        sample_size=sample.key.num_images,
        num_distinct=len(seen.hashes),
        num_constant=seen.num_constant,
        num_tensors=len(seen.tensors),
        bad_images=tuple(str(image) for image in saved.bad),
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeOptions:
    """Statistics files of all shards of one sample, and what becomes of them.

    Attributes:
        onnx: The FP32 file that the shards were made with.
        statistics: The files, in any order.
        method: See `quant.scales.checked_method`; or a name of `quant.network_methods.NETWORK_METHODS`, which needs `data`.
        data: The images that the shards were made from, for such a method; None for the others, which do without.
        num_threads: Of such a method; 0 takes the number of processors. Has no effect on the result.
        out: Table to write; None takes `<stem>.calib.json` beside the ONNX file.
        keep_statistics: Leave the merged statistics in `<stem>.calib.stats` beside the table.
        cache: TensorRT calibration cache to write as well.
        trt_version: Of the TensorRT that will read the cache.
    """

    onnx: Path
    statistics: tuple[Path, ...]
    method: str = "entropy"
    data: str | None = None
    num_threads: int = 0
    out: Path | None = None
    keep_statistics: bool = False
    cache: Path | None = None
    trt_version: str = "8.6.1"

    def __post_init__(self) -> None:
        if self.method not in NETWORK_METHODS:
            object.__setattr__(self, "method", checked_method(self.method))
        if self.method in NETWORK_METHODS and self.data is None:
            raise ConfigError(
                f"method {self.method} looks at the images again, which shards do not hold",
                remedy="give --data, the images that the shards were made from, or another method, entropy say",
            )
        if self.method not in NETWORK_METHODS and self.data is not None:
            raise ConfigError(
                f"method {self.method} needs no images, so data {self.data} has no effect",
                remedy=f"leave --data out, or take method {' or '.join(NETWORK_METHODS)}",
            )
        trt_version_number(self.trt_version)
        if not self.statistics:
            raise ConfigError("merge: no statistics file was given", remedy="name the files of all shards")

    def file(self) -> Path:
        """Where the table goes."""
        if self.out is not None:
            return Path(self.out)
        return Path(self.onnx).with_name(f"{net_stem(self.onnx)}.calib.json")


def merge_shards(options: MergeOptions, progress: Progress = NO_PROGRESS) -> CalibrateResult:
    """Write the table of a sample whose shards were collected apart: the bytes that one pass would have given.

    Raises:
        ArtifactError: A file is missing, cut off, or of another kind.
        ArtifactMismatchError: See `quant.statistics_file.merge_statistics`; or the images are not those of the shards.
        GraphError: See `quant.network_methods.check_method`.
        DataError: Together, the shards met more unusable images than one pass would have been allowed.
    """
    start = time.perf_counter()
    manifest = read_fp32_manifest(options.onnx)
    file = options.file()
    if options.method in NETWORK_METHODS:
        check_method(options.method, read_network(options.onnx, manifest).model)
    saved = merge_statistics(options.statistics, network_sha256=manifest.sha256)
    BadImages(saved.skip_bad).take(saved.bad)
    progress.start(f"calibrate {file.name}: {options.method}", len(saved.collected.tensors))
    amax = None
    if options.method in NETWORK_METHODS:
        amax = NETWORK_METHODS[options.method](_evidence(options, saved, progress))
    table = make_table(saved, method=options.method, amax=amax, progress=progress)
    key = saved.key
    made_with = {"method": options.method, "num_images": key.num_asked, "seed": key.seed}
    if saved.skip_bad:
        made_with["skip_bad"] = saved.skip_bad
    inputs = {"onnx": Path(options.onnx), "images": (key.images, key.fingerprint)}
    write_calibration(table, file, saved, inputs=inputs, made_with=made_with, parent=manifest)
    kept = file.with_name(f"{net_stem(options.onnx)}.calib.stats") if options.keep_statistics else None
    if kept is not None:
        write_statistics(saved, kept)
    if options.cache is not None:
        write_calibration_cache(table, read_onnx(options.onnx), options.cache, trt_version=options.trt_version)
    return result_of(
        file,
        network_sha256=manifest.sha256,
        images=key.images,
        statistics=kept,
        cache=options.cache,
        seconds=time.perf_counter() - start,
        skipped=False,
    )


def _evidence(options: MergeOptions, saved: SavedStatistics, progress: Progress) -> NetworkEvidence:
    """What a method sees that looks at the images: the very sample that the shards were made from."""
    key = saved.key
    sample = open_sample(
        SampleOptions(
            onnx=options.onnx,
            data=options.data,
            split=key.split,
            num_images=key.num_asked,
            seed=key.seed,
            num_threads=options.num_threads,
        )
    )
    if (sample.key.fingerprint, sample.key.preprocess_sha256) != (key.fingerprint, key.preprocess_sha256):
        raise ArtifactMismatchError(
            f"{options.data} does not hold the images that the shards were made from ({key.images})",
            remedy="give --data as it was for the shards, or a method that needs no images, entropy say",
        )
    return NetworkEvidence(
        model=read_network(options.onnx, sample.manifest).model,
        sample=sample,
        seen=saved.collected,
        num_threads=options.num_threads,
        progress=progress,
    )
