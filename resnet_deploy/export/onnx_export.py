"""torch -> ONNX files: one network or an ensemble, numerics checked against torch before anything is written."""

from __future__ import annotations

__all__ = ["OPSET", "ExportOptions", "ExportResult", "export_onnx", "onnx_from_torch"]

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from resnet_deploy.core.artifacts import is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.export.forms import ExportForm, load_net, make_exportable
from resnet_deploy.export.outputs import OutputChoice
from resnet_deploy.export.parity import Parity, parity_with_fp32, parity_with_torch
from resnet_deploy.export.tracing import OPSET, onnx_from_torch
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.float16 import BF16_OPSET, bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import IO_TYPES, with_float_io
from resnet_deploy.graph.head import put_on_head, take_off_head
from resnet_deploy.nets.catalogue import find_net

_HALVES = {Precision.FP16: fp16_from_fp32, Precision.BF16: bf16_from_fp32}
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What to export.

    Attributes:
        checkpoint: A checkpoint that `train` or `import` wrote; None exports an untrained `net`, or an ensemble.
        net: Name of the network, only without `checkpoint`.
        ensemble: Checkpoints that become one file, which averages their softmax; in place of `checkpoint`.
        form: The classifier as it is, averaged over ten crops of a larger square input, or fully convolutional
            with an input of any size; see `forms`.
        output: What the file gives out: logits, probabilities, the best classes, pooled features or stages' maps.
        batch: Images that the file takes at a time; None for any number.
        any_size: Height and width are free: the maps, and the pool over the whole of them, take any size. The
            fully convolutional form does that by itself, in another way: it scores every window and averages.
        resize_px: Side of ten-crop's input; None takes 256/224 of the crop.
        precision: FP32, FP16 or BF16. The latter two are made from the FP32 file, which is written first where it
            is not there.
        io: Type of input and output, for FP16 and BF16; an FP32 file, from which later stages start, keeps FP32.
        out: File to write; None takes `<checkpoint's stem>.<precision>.onnx` beside the (first) checkpoint, or
            `out/<net>.<precision>.onnx`; what is not usual (".ensemble", the form, the output, ".dynamic-size",
            ".batch8") stands before the precision.
        seed: Of an untrained network's weights.
        force: Write even where the file is up to date.
    """

    checkpoint: Path | None = None
    net: str | None = None
    ensemble: tuple[Path, ...] = ()
    form: ExportForm = ExportForm.CLASSIFIER
    output: OutputChoice = field(default_factory=OutputChoice)
    batch: int | None = None
    any_size: bool = False
    resize_px: int | None = None
    precision: Precision = Precision.FP32
    io: Precision = Precision.FP32
    out: Path | None = None
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        given = [str(what) for what in (self.checkpoint, self.net, *self.ensemble) if what is not None]
        if (self.checkpoint is not None) + (self.net is not None) + bool(self.ensemble) != 1:
            got = " and ".join(given) if given else "neither"
            raise ConfigError(f"export takes a checkpoint, the name of a network or an ensemble, got {got}")
        if self.precision not in (Precision.FP32, *_HALVES):
            raise ConfigError(
                f"export writes fp32, fp16 or bf16, not {self.precision}",
                remedy="INT8 and FP8 need scales: `resnet-deploy calibrate`, then `resnet-deploy quantize`",
            )
        if self.io not in IO_TYPES:
            raise ConfigError(f"io is {self.io}, expected {', '.join(map(str, IO_TYPES))}")
        if self.precision is Precision.FP32 and self.io is not Precision.FP32:
            raise ConfigError(
                f"io is {self.io}, but an FP32 file keeps FP32 inputs and outputs: calibration and validation start from it",
                remedy=f"export with precision fp16 or bf16 and io {self.io}",
            )
        if self.resize_px is not None and self.form is not ExportForm.TEN_CROP:
            raise ConfigError(f"--resize is for ten-crop, the form is {self.form}")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}, expected 0 or more")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch is {self.batch}, expected at least 1", remedy="leave it away for any batch size")
        self._check_form()

    def _check_form(self) -> None:
        if self.any_size and self.form is not ExportForm.CLASSIFIER:
            takes = "a square input of one size" if self.form is ExportForm.TEN_CROP else "images of any size already"
            raise ConfigError(f"--dynamic-size does not go with the form {self.form}, which takes {takes}")
        if self.output.kind.names_classes:
            return
        if self.form is not ExportForm.CLASSIFIER:
            raise ConfigError(
                f"--output {self.output} does not go with the form {self.form}, which averages classes",
                remedy="for images of any size take --dynamic-size",
            )
        if self.ensemble:
            raise ConfigError(
                f"--output {self.output} of an ensemble: {len(self.ensemble)} networks have as many features each",
                remedy="export each of them by itself",
            )

    def file(self) -> Path:
        """Where the ONNX file goes."""
        if self.out is not None:
            return Path(self.out)
        first = self.ensemble[0] if self.ensemble else self.checkpoint
        stem = Path("out") / self.net if first is None else Path(first).with_suffix("")
        parts = [
            stem.name,
            "ensemble" if self.ensemble else "",
            "" if self._is_plain else str(self.form),
            str(self.output),
            "dynamic-size" if self.any_size else "",
            "" if self.batch is None else f"batch{self.batch}",
        ]
        return stem.with_name(".".join([*filter(None, parts), str(self.precision), "onnx"]))

    @property
    def _is_plain(self) -> bool:
        return self.form is ExportForm.CLASSIFIER

    def inputs(self) -> dict[str, Any]:
        """What the FP32 file is made from, by role; every member of an ensemble has one of its own."""
        if self.ensemble:
            return {f"member {index}": Path(file) for index, file in enumerate(self.ensemble, start=1)}
        if self.checkpoint is not None:
            return {"checkpoint": Path(self.checkpoint)}
        text = f"{find_net(self.net).name}, random, seed {self.seed}"
        return {"net": (text, sha256_of_bytes(text.encode()))}

    def recorded(self) -> dict[str, Any]:
        """The options that change the file."""
        form = {} if self._is_plain else {"form": self.form, "resize_px": self.resize_px}
        io = {} if self.io is Precision.FP32 else {"io": self.io}
        output = {} if self.output.kind is OutputKind.LOGITS else {"output": self.output}
        axes = {} if self.batch is None else {"batch": self.batch}
        axes |= {"any_size": True} if self.any_size else {}
        opset = BF16_OPSET if self.precision is Precision.BF16 else OPSET
        return {"precision": self.precision, "opset": opset, **io, **form, **output, **axes}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """A finished ONNX file.

    Attributes:
        weights: "trained", or "random, seed 0" and the like.
        io: Type of input and output.
        parity: Outcome of the numeric check: FP32 against torch, FP16 and BF16 against FP32.
        note: How the file's answers differ from the checkpoint's; empty where they do not.
        seconds: Of this call; about 0 where the file was up to date.
    """

    file: Path
    net: str
    precision: Precision
    io: Precision
    weights: str
    parity: Parity
    num_nodes: int
    size_bytes: int
    note: str
    seconds: float
    skipped: bool


def export_onnx(options: ExportOptions, progress: Progress = NO_PROGRESS) -> ExportResult:
    """Write a network as an ONNX file with input `images` and output `logits`, or the others that are chosen.

    All floats are float32 unless `io` says otherwise; any batch size runs unless `batch` says otherwise.

    Where softmax is averaged (ensembles, ten-crop, fully convolutional), `logits` is the mean's logarithm: its
    softmax and its order are those of the mean, so whatever reads logits need not know.

    Raises:
        ArtifactError: The checkpoint can not be used.
        ConfigError: Unknown network, or members that want different pixels or know different classes.
        ExportError: The ONNX file does not compute what torch computes.
        GraphError: A weight does not fit FP16 or BF16.
    """
    start = time.perf_counter()
    write = _export_fp32 if options.precision is Precision.FP32 else _export_half
    skipped = write(options, progress)
    file = options.file()
    manifest = read_manifest(file, kind="onnx", verify=False)
    return ExportResult(
        file=file,
        net=manifest.net.name,
        precision=options.precision,
        io=options.io,
        weights=manifest.details["weights"],
        parity=Parity(**manifest.details["parity"]),
        num_nodes=manifest.details["num_nodes"],
        size_bytes=manifest.size_bytes,
        note=manifest.details.get("note", ""),
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


def _export_fp32(options: ExportOptions, progress: Progress) -> bool:
    file = options.file()
    inputs, made_with = options.inputs(), options.recorded()
    if not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with):
        return True
    files = options.ensemble or (options.checkpoint,)
    members = [load_net(checkpoint, name=options.net, seed=options.seed) for checkpoint in files]
    progress.start(f"export {file.name}: tracing", None)
    made = make_exportable(
        members,
        options.form,
        output=options.output,
        resize_px=options.resize_px,
        batch=options.batch,
        any_size=options.any_size,
    )
    progress.start(f"export {file.name}: comparing with torch", None)
    parities = [parity_with_torch(made.model, made.reference, probe, name=str(file)) for probe in made.probes]
    details: dict[str, Any] = {
        "weights": made.weights,
        "parity": max(parities, key=lambda parity: parity.relative_error),
        "num_nodes": len(made.model.graph.node),
    }
    if made.note:
        details["note"] = made.note
    if options.form is not ExportForm.CLASSIFIER:
        details["form"] = options.form
    if options.ensemble:
        details["members"] = [member.record.name for member in members]
    write_onnx(made.model, file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        parent=made.parent,
        net=made.record,
        preprocess=made.preprocess,
        precision=options.precision,
        details=details,
    )
    return False


def _export_half(options: ExportOptions, progress: Progress) -> bool:
    file = options.file()
    fp32_file = _fp32_beside(file, options.precision)
    export_onnx(replace(options, precision=Precision.FP32, io=Precision.FP32, out=fp32_file, force=False), progress)
    inputs = {"onnx": fp32_file}
    made_with = options.recorded()
    if not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with):
        return True
    progress.start(f"export {file.name}: converting", None)
    parent = read_manifest(fp32_file, kind="onnx")
    fp32 = read_onnx(fp32_file)
    half = with_float_io(_halved(fp32, options.precision), options.io)
    parity = parity_with_fp32(half, fp32, parent.preprocess, name=str(file), precision=options.precision, io=options.io)
    write_onnx(half, file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        parent=parent,
        precision=options.precision,
        details={**parent.details, "parity": parity, "num_nodes": len(half.graph.node)},
    )
    return False


def _halved(fp32: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    body = onnx.ModelProto()
    body.CopyFrom(fp32)
    head = take_off_head(body)
    half = _HALVES[precision](body)
    put_on_head(half, head)
    return half


def _fp32_beside(file: Path, precision: Precision) -> Path:
    stem = file.name.removesuffix(".onnx").removesuffix(f".{precision}")
    fp32_file = file.with_name(f"{stem}.{Precision.FP32}.onnx")
    if fp32_file == file:
        raise ConfigError(
            f"{file} is where the FP32 file goes, from which the {str(precision).upper()} file is made",
            remedy=f"name the file {stem}.{precision}.onnx",
        )
    return fp32_file
