"""torch -> ONNX: batch normalisation folded, names from the modules, numerics checked against torch."""

from __future__ import annotations

__all__ = ["OPSET", "ExportOptions", "ExportResult", "export_onnx", "onnx_from_torch"]

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from resnet_deploy.core.artifacts import Manifest, NetRecord, is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ConfigError, ExportError, ResnetDeployError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.export.batch_norm import fold_batch_norms
from resnet_deploy.export.names import canonical_from_torch
from resnet_deploy.export.parity import Parity, parity_with_fp32, parity_with_torch
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.nets.catalogue import NetSpec, find_net
from resnet_deploy.nets.checkpoint import fresh_net, load_checkpoint

OPSET = 20
"""The newest that every TensorRT 10.x parser reads; Q/DQ in FP16 needs 19."""

_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What to export.

    Attributes:
        checkpoint: A checkpoint that `train` or `import` wrote; None exports an untrained `net`.
        net: Name of the network, only without `checkpoint`.
        precision: FP32 or FP16. FP16 is made from the FP32 file, which is written first where it is not there.
        out: File to write; None takes `<checkpoint's stem>.<precision>.onnx` beside the checkpoint, or
            `out/<net>.<precision>.onnx`.
        seed: Of an untrained network's weights.
        force: Write even where the file is up to date.
    """

    checkpoint: Path | None = None
    net: str | None = None
    precision: Precision = Precision.FP32
    out: Path | None = None
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.net is None):
            got = "neither" if self.net is None else f"{self.checkpoint} and {self.net}"
            raise ConfigError(f"export takes a checkpoint or the name of a network, got {got}")
        if self.precision not in (Precision.FP32, Precision.FP16):
            raise ConfigError(
                f"export writes fp32 or fp16, not {self.precision}",
                remedy="INT8 needs scales: `resnet-deploy calibrate`, then `resnet-deploy quantize`",
            )
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}, expected 0 or more")

    def file(self) -> Path:
        """Where the ONNX file goes."""
        if self.out is not None:
            return Path(self.out)
        stem = Path("out") / self.net if self.checkpoint is None else Path(self.checkpoint).with_suffix("")
        return stem.with_name(f"{stem.name}.{self.precision}.onnx")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """A finished ONNX file.

    Attributes:
        weights: "trained", or "random, seed 0" and the like.
        parity: Outcome of the numeric check: FP32 against torch, FP16 against FP32.
        seconds: Of this call; about 0 where the file was up to date.
    """

    file: Path
    net: str
    precision: Precision
    weights: str
    parity: Parity
    num_nodes: int
    size_bytes: int
    seconds: float
    skipped: bool


def export_onnx(options: ExportOptions, progress: Progress = NO_PROGRESS) -> ExportResult:
    """Write a network as an ONNX file with input `images` and output `logits`, both float32, any batch size.

    Raises:
        ArtifactError: The checkpoint can not be used.
        ConfigError: Unknown network.
        ExportError: The ONNX file does not compute what torch computes.
        GraphError: A weight does not fit FP16.
    """
    start = time.perf_counter()
    write = _export_fp32 if options.precision is Precision.FP32 else _export_fp16
    skipped = write(options, progress)
    file = options.file()
    manifest = read_manifest(file, kind="onnx", verify=False)
    return ExportResult(
        file=file,
        net=manifest.net.name,
        precision=options.precision,
        weights=manifest.details["weights"],
        parity=Parity(**manifest.details["parity"]),
        num_nodes=manifest.details["num_nodes"],
        size_bytes=manifest.size_bytes,
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    net: nn.Module
    spec: NetSpec
    record: NetRecord
    preprocess: Preprocess
    parent: Manifest | None
    weights: str


def _load(options: ExportOptions) -> _Source:
    if options.checkpoint is None:
        spec = find_net(options.net)
        return _Source(
            net=fresh_net(spec, seed=options.seed),
            spec=spec,
            record=NetRecord(name=spec.name, num_classes=spec.num_classes),
            preprocess=spec.preprocess,
            parent=None,
            weights=f"random, seed {options.seed}",
        )
    checkpoint = load_checkpoint(options.checkpoint)
    manifest = checkpoint.manifest
    return _Source(
        net=checkpoint.net,
        spec=checkpoint.spec,
        record=manifest.net,
        preprocess=manifest.preprocess or checkpoint.spec.preprocess,
        parent=manifest,
        weights=str(manifest.details.get("weights", "trained")),
    )


def _export_fp32(options: ExportOptions, progress: Progress) -> bool:
    file = options.file()
    if options.checkpoint is None:
        name = find_net(options.net).name
        text = f"{name}, random, seed {options.seed}"
        inputs: dict[str, Any] = {"net": (text, sha256_of_bytes(text.encode()))}
    else:
        inputs = {"checkpoint": Path(options.checkpoint)}
    made_with = {"precision": options.precision, "opset": OPSET}
    if not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with):
        return True
    progress.start(f"export {file.name}: tracing", None)
    source = _load(options)
    model = onnx_from_torch(source.net, source.preprocess)
    progress.start(f"export {file.name}: comparing with torch", None)
    parity = parity_with_torch(model, source.net, source.preprocess, name=str(file))
    write_onnx(model, file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        parent=source.parent,
        net=source.record,
        preprocess=source.preprocess,
        precision=options.precision,
        details={"weights": source.weights, "parity": parity, "num_nodes": len(model.graph.node)},
    )
    return False


def _export_fp16(options: ExportOptions, progress: Progress) -> bool:
    file = options.file()
    fp32_file = _fp32_beside(file)
    export_onnx(
        ExportOptions(
            checkpoint=options.checkpoint,
            net=options.net,
            out=fp32_file,
            seed=options.seed,
        ),
        progress,
    )
    inputs = {"onnx": fp32_file}
    made_with = {"precision": options.precision, "opset": OPSET}
    if not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with):
        return True
    progress.start(f"export {file.name}: converting", None)
    parent = read_manifest(fp32_file, kind="onnx")
    fp32 = read_onnx(fp32_file)
    fp16 = fp16_from_fp32(fp32)
    parity = parity_with_fp32(fp16, fp32, parent.preprocess, name=str(file))
    write_onnx(fp16, file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        parent=parent,
        precision=options.precision,
        details={"weights": parent.details["weights"], "parity": parity, "num_nodes": len(fp16.graph.node)},
    )
    return False


def _fp32_beside(file: Path) -> Path:
    stem = file.name.removesuffix(".onnx").removesuffix(f".{Precision.FP16}")
    fp32_file = file.with_name(f"{stem}.{Precision.FP32}.onnx")
    if fp32_file == file:
        raise ConfigError(
            f"{file} is where the FP32 file goes, from which the FP16 file is made",
            remedy=f"name the FP16 file {stem}.{Precision.FP16}.onnx",
        )
    return fp32_file


def onnx_from_torch(net: nn.Module, preprocess: Preprocess) -> onnx.ModelProto:
    """The graph of `net` in evaluation mode: `images` [N, 3, H, W] -> `logits` [N, K], N dynamic, float32.

    Raises:
        ExportError: torch's exporter failed; carries its words.
    """
    folded = fold_batch_norms(net)
    images = torch.zeros(2, *preprocess.input_shape)  # not 1: the exporter takes 1 for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                folded,
                (images,),
                input_names=["images"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: "N"},),
                verbose=False,
            )
        model = program.model_proto
    except ResnetDeployError:
        raise
    except Exception as error:  # the exporter raises many types; none is documented
        raise ExportError(f"torch's ONNX exporter failed: {type(error).__name__}: {error}") from error
    canonical_from_torch(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings about its own internals and absent packages off the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
