"""Caffe's binary files: the blobs of a `.caffemodel` and the mean image of a `.binaryproto`.

Only the fields that hold weights, or that change what the weights mean, are declared; protobuf skips the rest.
Source: Caffe, src/caffe/proto/caffe.proto (field numbers).
"""

from __future__ import annotations

__all__ = ["CaffeLayerFacts", "read_caffemodel", "read_mean_image"]

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from resnet_deploy.core.errors import ArtifactError

_Field = descriptor_pb2.FieldDescriptorProto
_MAX_AXES = 8

# message -> (field, number, type, repeated, message type). `data` and `double_data` are packed numbers; on the
# wire a packed field is one run of bytes, and read as bytes it becomes an array without a Python object a number.
_MESSAGES: dict[str, tuple[tuple[str, int, int, bool, str], ...]] = {
    "BlobShape": (("dim", 1, _Field.TYPE_INT64, True, ""),),
    "BlobProto": (
        ("num", 1, _Field.TYPE_INT32, False, ""),
        ("channels", 2, _Field.TYPE_INT32, False, ""),
        ("height", 3, _Field.TYPE_INT32, False, ""),
        ("width", 4, _Field.TYPE_INT32, False, ""),
        ("data", 5, _Field.TYPE_BYTES, False, ""),
        ("shape", 7, _Field.TYPE_MESSAGE, False, "BlobShape"),
        ("double_data", 8, _Field.TYPE_BYTES, False, ""),
    ),
    "ConvolutionParameter": (("stride", 6, _Field.TYPE_UINT32, True, ""),),
    "BatchNormParameter": (("eps", 3, _Field.TYPE_FLOAT, False, ""),),
    "LayerParameter": (
        ("name", 1, _Field.TYPE_STRING, False, ""),
        ("type", 2, _Field.TYPE_STRING, False, ""),
        ("blobs", 7, _Field.TYPE_MESSAGE, True, "BlobProto"),
        ("convolution_param", 106, _Field.TYPE_MESSAGE, False, "ConvolutionParameter"),
        ("batch_norm_param", 139, _Field.TYPE_MESSAGE, False, "BatchNormParameter"),
    ),
    "V1LayerParameter": (
        ("name", 4, _Field.TYPE_STRING, False, ""),
        ("blobs", 6, _Field.TYPE_MESSAGE, True, "BlobProto"),
    ),
    "NetParameter": (
        ("name", 1, _Field.TYPE_STRING, False, ""),
        ("layers", 2, _Field.TYPE_MESSAGE, True, "V1LayerParameter"),
        ("layer", 100, _Field.TYPE_MESSAGE, True, "LayerParameter"),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CaffeLayerFacts:
    """What a file says of a layer besides its blobs; None where it says nothing.

    Attributes:
        stride: Of a convolution.
        eps: Of a batch norm; Caffe's own default is 1e-5.
    """

    stride: int | None = None
    eps: float | None = None


def read_caffemodel(path: Path) -> tuple[dict[str, np.ndarray], dict[str, CaffeLayerFacts]]:
    """The blobs of every layer of a `.caffemodel`, of today's `layer` list or of the old `layers` list.

    Returns:
        "<layer>.<index of the blob>" -> float32 array of the stored shape, and layer -> facts.
    Raises:
        ArtifactError: Truncated, not a Caffe network, without weights, or a blob's shape is not its data's.
    """
    net = _parse("NetParameter", path, what="a .caffemodel")
    blobs: dict[str, np.ndarray] = {}
    facts: dict[str, CaffeLayerFacts] = {}
    for layer in [*net.layers, *net.layer]:
        if layer.blobs and layer.name in facts:
            raise ArtifactError(f"{path}: two layers are named {layer.name!r}", remedy="give every layer its own name")
        for index, blob in enumerate(layer.blobs):
            blobs[f"{layer.name}.{index}"] = _array(blob, source=f"{path}: blob {index} of layer {layer.name!r}")
        if layer.blobs:
            facts[layer.name] = _facts(layer)
    if not blobs:
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) holds {len(net.layers) + len(net.layer)} layers and no weights, "
            "expected a .caffemodel with blobs",
            remedy="copy or download it again; a .prototxt describes a network but holds no weights",
        )
    return blobs, facts


def read_mean_image(path: Path) -> np.ndarray:
    """Caffe's mean image, as it stores it: [3, H, W] float32 in B G R order, 0 to 255.

    Args:
        path: A `.binaryproto`, or the same array as `.npy`.
    Raises:
        ArtifactError: Missing, truncated, or not of that shape or range.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", remedy="name Caffe's mean image, .binaryproto or .npy")
    if path.suffix == ".npy":
        try:
            image = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ArtifactError(f"{path} is not a whole .npy file: {error}", remedy="write it again") from error
    else:
        image = _array(_parse("BlobProto", path, what="a .binaryproto mean image"), source=str(path))
    image = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype.kind not in "fiu" or not image.size:
        raise ArtifactError(
            f"{path} holds {image.dtype} of shape {list(image.shape)}, expected a mean image [3, H, W] in B G R order",
            remedy="name Caffe's mean image, e.g. ResNet_mean.binaryproto",
        )
    image = image.astype(np.float32)
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 255 and image.max() > 1):
        raise ArtifactError(
            f"{path}: values from {image.min():g} to {image.max():g}, expected pixel values from 0 to 255",
            remedy="give the mean of 8-bit pixels, not of scaled ones",
        )
    return image


def _parse(message: str, path: Path, *, what: str) -> Any:
    data = Path(path).read_bytes()
    try:
        return _message_class(message).FromString(data)
    except DecodeError as error:
        raise ArtifactError(
            f"{path} ({len(data)} bytes) is truncated or not {what}: {error}", remedy="copy or download it again"
        ) from error


def _array(blob: Any, *, source: str) -> np.ndarray:
    shape = list(blob.shape.dim) if blob.HasField("shape") else [blob.num, blob.channels, blob.height, blob.width]
    raw, kind = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
    if len(shape) > _MAX_AXES or any(size < 0 for size in shape) or len(raw) != _num_bytes(shape, kind):
        raise ArtifactError(
            f"{source} has shape {shape[:_MAX_AXES]} and {len(raw) // np.dtype(kind).itemsize} values",
            remedy="copy or download the file again",
        )
    return np.frombuffer(raw, dtype=kind).reshape(shape).astype(np.float32)


def _num_bytes(shape: list[int], kind: str) -> int:
    count = 1
    for size in shape:  # Python integers: numpy's product could overflow on a forged shape
        count *= size
    return count * np.dtype(kind).itemsize


def _facts(layer: Any) -> CaffeLayerFacts:
    stride = eps = None
    if "convolution_param" in layer.DESCRIPTOR.fields_by_name and layer.HasField("convolution_param"):
        strides = set(layer.convolution_param.stride) or {1}
        stride = strides.pop() if len(strides) == 1 else None
    if "batch_norm_param" in layer.DESCRIPTOR.fields_by_name and layer.HasField("batch_norm_param"):
        eps = layer.batch_norm_param.eps if layer.batch_norm_param.HasField("eps") else None
    return CaffeLayerFacts(stride=stride, eps=eps)


@functools.cache
def _message_class(name: str) -> Any:
    """A protobuf class of the messages above, in a pool of its own: nothing else can clash with its names."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe_weights.proto", package="caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field_name, number, kind, repeated, type_name in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field = described.field.add(name=field_name, number=number, type=kind, label=label)
            if type_name:
                field.type_name = f".caffe.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
