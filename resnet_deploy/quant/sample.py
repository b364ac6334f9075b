"""Which images a network is calibrated on, and going over them with nothing lost on the way."""

from __future__ import annotations

__all__ = ["SAVE_EVERY_S", "Sample", "SampleOptions", "collect_sample", "net_stem", "open_sample", "read_fp32_manifest"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import Manifest, read_manifest, refuse_pixels
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample
from resnet_deploy.quant.collect import Keep, collect_statistics
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.statistics import Collected
from resnet_deploy.quant.statistics_file import (
    SampleKey,
    SavedStatistics,
    read_statistics,
    sample_key,
    write_statistics,
)

SAVE_EVERY_S = 30.0
"""Seconds of work that a kill may lose; writing a file of ResNet-152's statistics takes well under one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleOptions:
    """A network and the images it is calibrated on.

    Attributes:
        onnx: FP32 file that `export` wrote.
        data: What `data.source.open_images` takes.
        split: Part of the data; the held-out part is never taken unless asked for by name.
        num_images: At most so many, spread evenly over the classes.
        seed: Chooses the images.
        skip_bad: So many of them may be unusable; they are left out and listed.
        num_threads: Forward passes at a time; 0 takes the number of processors. Has no effect on the result.
        batch: Images per forward pass. Has no effect on the result either: it is refused where the network's
            activations depend on it.
        force: Go over the images even where that has been done.
    """

    onnx: Path
    data: str
    split: str = "train"
    num_images: int = 512
    seed: int = 0
    skip_bad: int = 0
    num_threads: int = 0
    batch: int = 1
    force: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, expected at least 1"
            for name, value in (("num_images", self.num_images), ("batch", self.batch))
            if value < 1
        ]
        if min(self.seed, self.num_threads, self.skip_bad) < 0:
            problems.append(
                f"seed {self.seed}, num_threads {self.num_threads} and skip_bad {self.skip_bad} must not be negative"
            )
        if problems:
            raise ConfigError("calibrate: " + "; ".join(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A network's manifest and the images chosen for it."""

    manifest: Manifest
    images: ImageSource
    key: SampleKey


def open_sample(options: SampleOptions) -> Sample:
    """Read the network's manifest and choose the images; runs nothing.

    Raises:
        ArtifactError: The ONNX file is missing, changed, or not FP32 of ours.
        DataError: There are no such images.
    """
    manifest = read_fp32_manifest(options.onnx)
    source = open_images(options.data, split=options.split)
    images = stratified_sample(source, options.num_images, seed=options.seed)
    key = sample_key(
        images,
        manifest.preprocess,
        network_sha256=manifest.sha256,
        split=options.split,
        num_asked=options.num_images,
        seed=options.seed,
    )
    return Sample(manifest=manifest, images=images, key=key)


def read_fp32_manifest(onnx: Path) -> Manifest:
    """The manifest of a file that can be calibrated.

    Raises:
        ArtifactError: The file is missing, changed, or not FP32 with its preprocessing.
    """
    manifest = read_manifest(onnx, kind="onnx")
    refuse_pixels(onnx, manifest)
    if manifest.precision is not Precision.FP32 or manifest.preprocess is None:
        raise ArtifactError(
            f"{onnx} is {manifest.precision}, calibration needs the FP32 file and its preprocessing",
            remedy="make one with `resnet-deploy export`",
        )
    return manifest


def net_stem(onnx: Path) -> str:
    """`resnet20` of `out/resnet20.fp32.onnx`."""
    return Path(onnx).name.removesuffix(".onnx").removesuffix(f".{Precision.FP32}")


def collect_sample(
    options: SampleOptions,
    sample: Sample,
    model: onnx.ModelProto,
    *,
    partial: Path,
    positions: Sequence[int] | None = None,
    progress: Progress,
) -> SavedStatistics:
    """Go over the sample's images, or those at `positions`, from where an interrupted pass left off.

    Args:
        partial: Where unfinished work is kept meanwhile; removed at the end.
    Raises:
        DataError: More images than `options.skip_bad` can not be used.
        CalibrationError: See `quant.collect.collect_statistics`.
    """
    wanted = set(range(len(sample.images)) if positions is None else positions)
    done = None if options.force else _unfinished(partial, sample.key, wanted, progress)
    bad = BadImages(options.skip_bad)
    keep = Keep(
        save=lambda seen: write_statistics(SavedStatistics(key=sample.key, collected=seen), partial),
        every_s=SAVE_EVERY_S,
    )
    seen = collect_statistics(
        model,
        find_placement(model).tensors,
        sample.images,
        sample.manifest.preprocess,
        positions=positions,
        done=done,
        num_threads=options.num_threads,
        batch=options.batch,
        bad=bad,
        keep=keep,
        progress=progress,
    )
    partial.unlink(missing_ok=True)
    return SavedStatistics(key=sample.key, collected=seen, bad=tuple(bad), skip_bad=options.skip_bad)


def _unfinished(partial: Path, key: SampleKey, wanted: set[int], progress: Progress) -> Collected | None:
    """What an interrupted pass over this very sample left, or None."""
    if not partial.is_file():
        return None
    try:
        saved = read_statistics(partial)
    except ArtifactError as error:
        progress.log(f"starting anew: {error.message}")
        return None
    if saved.key != key or not saved.collected.positions <= wanted:
        progress.log(f"starting anew: {partial} is of another network, sample or version")
        return None
    progress.log(f"going on after {saved.collected.num_images} of {len(wanted)} images, from {partial}")
    return saved.collected
