"""An ONNX file made elsewhere becomes an FP32 file of the chain: normalised, compared with itself, with a manifest."""

from __future__ import annotations

__all__ = ["ForeignOnnxOptions", "ForeignOnnxResult", "import_onnx"]

import time
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import find_manifest, is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.export.checksums import check_file
from resnet_deploy.export.normalise_onnx import Normalised, normalise
from resnet_deploy.export.onnx_parity import OnnxParity, compare_graphs
from resnet_deploy.graph.external_data import read_onnx_with_data
from resnet_deploy.graph.files import write_onnx

_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
_NOT_RECORDED = ("file", "out", "force")


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignOnnxOptions:
    """Which ONNX file to import, and what it does not say about itself.

    Attributes:
        file: FP32 network of any exporter; its weights may lie in files beside it.
        out: The file to write.
        size_px: Height and width of the network's input.
        resize_px: Shorter side before the centre crop; None takes images of `size_px` as they are.
        mean, std: Per channel, RGB, in units of pixel / 255, as in training.
        labels: Class names in label order; None calls them `class_0000` ...
        num_classes: Number of classes to insist on.
        output: Name of the logits, where the network has several outputs.
        sha256: The file's SHA-256, or at least its first eight digits.
        license: A note on the weights' licence and origin, kept in the manifest.
        force: Import even where the file is up to date.
    """

    file: Path
    out: Path
    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_px: int | None = None
    labels: tuple[str, ...] | None = None
    num_classes: int | None = None
    output: str | None = None
    sha256: str | None = None
    license: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        if self.out.suffix != ".onnx":
            raise ConfigError(
                f"{self.out} must end in .onnx", remedy=f"for example {self.out.stem}.{Precision.FP32}.onnx"
            )
        if self.out.resolve() == self.file.resolve():
            raise ConfigError(f"{self.out} would overwrite the file it is made from", remedy="name another --out")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise ConfigError(f"label {twice!r} occurs {self.labels.count(twice)} times, expected once")
        _ = self.preprocess  # which checks sizes, mean and std

    @property
    def preprocess(self) -> Preprocess:
        """The pixel path that these options describe."""
        return Preprocess(
            height_px=self.size_px,
            width_px=self.size_px,
            resize_shorter_px=self.resize_px,
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignOnnxResult:
    """A finished import, or one that its comparison ended.

    Attributes:
        normalised: What was changed, and what could not be.
        parity: The file's network against the original, both in ONNX Runtime.
        written: Whether there is a file; not so where the comparison failed.
        skipped: It was there already, from the same file and options.
    """

    file: Path
    source: Path
    source_sha256: str
    num_classes: int
    num_nodes: int
    normalised: Normalised
    parity: OnnxParity
    preprocess: Preprocess
    labels: tuple[str, ...]
    seconds: float
    written: bool = True
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether the imported network computes what the original does."""
        return self.parity.passed


def import_onnx(options: ForeignOnnxOptions, progress: Progress = NO_PROGRESS) -> ForeignOnnxResult:
    """Normalise a foreign network, prove that it still computes the same, and write it with its manifest.

    Nothing in the file is executed but its operators. Preprocessing and labels are what the options say: an ONNX
    file does not hold them, so `evaluate` on labelled images is the proof that they are right.

    Raises:
        ArtifactError: The file, or the one with its weights, is missing or cut off.
        ArtifactMismatchError: It is not the file its digest says.
        ConfigError: Labels or classes do not fit the network, or the file was made by this package.
        GraphError: It is quantised, not FP32, takes something else than one image, or holds what no stage can read.
    """
    start = time.perf_counter()
    progress.start(f"importing {options.file.name}", 3)
    model, data_files = read_onnx_with_data(options.file)
    checksum = check_file(options.file, sha256=options.sha256)
    if find_manifest(options.file) is not None:
        raise ConfigError(
            f"{options.file} has a manifest already, so its preprocessing and labels are known",
            remedy="use the file as it is: import is for files from elsewhere",
        )
    inputs = {"onnx": options.file, **{f"weights {i}": file for i, file in enumerate(data_files, start=1)}}
    recorded = {name: value for name, value in to_plain(options).items() if name not in _NOT_RECORDED}
    is_done = not options.force and is_up_to_date(options.out, stage="import", inputs=inputs, options=recorded)
    if is_done and (done := _done_before(options, checksum.sha256, time.perf_counter() - start)) is not None:
        return done
    progress.advance(note="normalising")
    normal, report = normalise(model, options.preprocess, output=options.output, name=str(options.file))
    labels = _labels(options, report.num_classes)
    progress.advance(note="comparing")
    parity = compare_graphs(normal, model, options.preprocess, report)
    progress.advance()
    if parity.passed:
        _write(normal, report, parity, labels, options, inputs=inputs, recorded=recorded)
    return ForeignOnnxResult(
        file=options.out,
        source=options.file,
        source_sha256=checksum.sha256,
        num_classes=report.num_classes,
        num_nodes=len(normal.graph.node),
        normalised=report,
        parity=parity,
        preprocess=options.preprocess,
        labels=labels,
        seconds=time.perf_counter() - start,
        written=parity.passed,
    )


def _write(
    model: onnx.ModelProto,
    report: Normalised,
    parity: OnnxParity,
    labels: tuple[str, ...],
    options: ForeignOnnxOptions,
    *,
    inputs: dict[str, Path],
    recorded: dict,
) -> None:
    write_onnx(model, options.out)
    write_manifest(
        options.out,
        kind="onnx",
        stage="import",
        inputs=inputs,
        options=recorded,
        packages=_PACKAGES,
        preprocess=options.preprocess,
        labels=labels,
        precision=Precision.FP32,
        details={
            "weights": "trained elsewhere",
            "num_nodes": len(model.graph.node),
            "normalised": report,
            "parity": parity,
            **({"license": options.license} if options.license else {}),
        },
    )


def _done_before(options: ForeignOnnxOptions, sha256: str, seconds: float) -> ForeignOnnxResult | None:
    """The result of an earlier run with the same file and options, from its manifest."""
    manifest = read_manifest(options.out, kind="onnx", verify=False)
    try:
        report = from_plain(Normalised, manifest.details["normalised"], source=str(options.out))
        parity = from_plain(OnnxParity, manifest.details["parity"], source=str(options.out))
    except ConfigError:  # written before the report had today's fields
        return None
    return ForeignOnnxResult(
        file=options.out,
        source=options.file,
        source_sha256=sha256,
        num_classes=report.num_classes,
        num_nodes=manifest.details["num_nodes"],
        normalised=report,
        parity=parity,
        preprocess=options.preprocess,
        labels=manifest.labels or (),
        seconds=seconds,
        skipped=True,
    )


def _labels(options: ForeignOnnxOptions, num_classes: int) -> tuple[str, ...]:
    if options.num_classes is not None and options.num_classes != num_classes:
        raise ConfigError(
            f"{options.num_classes} classes were asked for, the network in {options.file} has {num_classes}",
            remedy="leave --classes away",
        )
    if options.labels is None:
        return tuple(f"class_{index:04d}" for index in range(num_classes))
    if len(options.labels) != num_classes:
        raise ConfigError(
            f"{len(options.labels)} labels were given, the network has {num_classes} classes",
            remedy="give one label for each class, in label order",
        )
    return options.labels
