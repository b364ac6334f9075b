"""Quantisation-aware training: an INT8 ONNX file goes on learning with its rounding in place, and stays that file."""

from __future__ import annotations

__all__ = ["QuantizedNet", "float_network_of"]

from pathlib import Path
from typing import Any

import onnx
from torch import nn

from resnet_deploy.core.artifacts import Manifest, read_manifest, refuse_pixels, write_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, DataError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.trainable import TrainableGraph
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.train.images import TrainImages
from resnet_deploy.train.options import QuantizedStart, TrainOptions

_PACKAGES = ("torch", "onnx", "numpy")
_LASTING_DETAILS = ("weights", "method", "num_layers", "num_pairs", "refusals", "num_nodes")
"""What the manifest says of a file that training does not change; what was measured on it does not hold any more."""


class QuantizedNet:
    """The network of an INT8 file, or the FP32 network it was made from, trained by the same loop as any other.

    Raises:
        ArtifactError: A file is missing, changed, or not what it has to be.
        ArtifactMismatchError: The FP32 file is not the one that the INT8 file was made from.
    """

    start_option = "--qat"

    def __init__(self, options: TrainOptions) -> None:
        assert options.quantized is not None
        self._start = options.quantized
        self._seed = options.seed
        int8 = _read_int8(self._start.int8)
        self._fp32 = float_network_of(self._start)
        self._manifest = read_manifest(self._fp32, kind="onnx") if self._start.float_twin else int8
        self._file = self._fp32 if self._start.float_twin else self._start.int8
        if self._manifest.preprocess is None:
            raise ArtifactError(f"the manifest of {self._file} does not say how images are prepared")
        if self._manifest.net is not None and self._manifest.net.output is not OutputKind.LOGITS:
            raise ArtifactError(
                f"{self._file} gives {self._manifest.net.output}, training starts from logits",
                remedy="train the file that `resnet-deploy export --output logits` makes",
            )
        self.preprocess = self._manifest.preprocess
        self.name = self._manifest.net.name if self._manifest.net else self._file.stem
        self.depth = _depth_of(self.name)

    def inputs(self) -> dict[str, Path]:
        files = {"onnx": self._fp32}
        return files if self._start.float_twin else files | {"quantized": self._start.int8}

    def build(self, classes: tuple[str, ...], images: TrainImages) -> nn.Module:
        if not self._start.distill:
            self._check_classes(classes)
        original = read_onnx(self._fp32)
        if self._start.float_twin:
            return TrainableGraph(original)
        shape = (1, 3, self.preprocess.height_px, self.preprocess.width_px)
        return TrainableGraph(
            read_onnx(self._file), original=original, learn_scales=self._start.learn_scales, input_shape=shape
        )

    def teacher(self) -> nn.Module | None:
        return TrainableGraph(read_onnx(self._fp32)).requires_grad_(False).eval() if self._start.distill else None

    def save(
        self,
        file: Path,
        net: nn.Module,
        *,
        classes: tuple[str, ...],
        inputs: dict[str, Any],
        options: dict[str, Any],
        details: dict[str, Any],
    ) -> Manifest:
        write_onnx(net.onnx_of(read_onnx(self._file)), file)
        return write_manifest(
            file,
            kind="onnx",
            stage="train",
            inputs=inputs,
            options=options,
            packages=_PACKAGES,
            parent=self._manifest,
            precision=self._manifest.precision,
            details={k: v for k, v in self._manifest.details.items() if k in _LASTING_DETAILS} | details,
        )

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        known, file = self._manifest.labels, self._file
        if known is not None and known != classes:
            first = next((a, b) for a, b in zip((*known, None), (*classes, None), strict=False) if a != b)
            raise DataError(
                f"{file} tells {len(known)} classes apart, the images have {len(classes)}; first difference: "
                f"{first[0]!r} in the network, {first[1]!r} in the images",
                remedy="give images of the network's classes in its order, or learn without labels with --distill",
            )
        if known is None and (count := _num_logits(read_onnx(file))) not in (None, len(classes)):
            raise DataError(f"{file} gives {count} logits, the images have {len(classes)} classes")


def float_network_of(start: QuantizedStart) -> Path:
    """The FP32 file that the INT8 file was made from: the one given, or the one that the manifest names.

    Raises:
        ArtifactError: It is not where the manifest says.
        ArtifactMismatchError: It is another file.
    """
    record = next((r for r in _read_int8(start.int8).inputs if r.role == "onnx"), None)
    if record is None:
        raise ArtifactError(
            f"the manifest of {start.int8} does not say which FP32 network it was made from",
            remedy="make the INT8 file with `resnet-deploy quantize`",
        )
    file = start.fp32 or Path(start.int8).parent / record.file
    if not file.is_file():
        raise ArtifactError(
            f"{file}, from which {start.int8} was made, is not there", remedy="say where it is with --from FILE"
        )
    manifest = read_manifest(file, kind="onnx")
    if manifest.sha256 != record.sha256:
        raise ArtifactMismatchError(
            f"{start.int8} was not made from {file}: SHA-256 {record.sha256[:12]}... expected, {manifest.sha256[:12]}... "
            "found",
            remedy="give the FP32 file of this INT8 file with --from, or quantise again",
        )
    return file


def _read_int8(file: Path) -> Manifest:
    manifest = read_manifest(file, kind="onnx")
    refuse_pixels(file, manifest)
    if manifest.precision is not Precision.INT8:
        raise ConfigError(
            f"{file} is {manifest.precision}, quantisation-aware training starts from an int8 file",
            remedy="make one with `resnet-deploy quantize`",
        )
    if (manifest.details.get("unsigned") or {}).get("tensors"):
        raise ConfigError(
            f"{file} has unsigned ReLU outputs, whose shift by half their range is in biases that training would move",
            remedy="make the file to train from with `resnet-deploy quantize --unsigned-relu off`",
        )
    return manifest


def _depth_of(name: str) -> int:
    try:
        return find_net(name).depth
    except ConfigError:  # a network that is not of the catalogue
        return 0


def _num_logits(model: onnx.ModelProto) -> int | None:
    sizes = model.graph.output[0].type.tensor_type.shape.dim
    return sizes[-1].dim_value or None if sizes else None
