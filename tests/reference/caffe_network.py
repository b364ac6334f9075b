"""The original Caffe residual nets, run straight from their blobs, and their files written with protobuf.

Independent of the package: layers in the order of the published prototxt files, Caffe's arithmetic
(batch_norm_layer.cpp multiplies the stored sums by 1 / factor; Scale is a layer of its own), no renaming.

Source: github.com/KaimingHe/deep-residual-networks, prototxt files; Caffe, src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

__all__ = ["block_names", "caffe_blobs", "caffemodel_bytes", "run_caffe", "v1_caffemodel_bytes"]

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from torch.nn import functional

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def block_names(depth: int) -> list[list[str]]:
    """Per stage the names as printed: 3a 3b 3c 3d in ResNet-50; 3a 3b1 3b2 ... where stages 3 and 4 are longer."""
    stages = []
    for stage, count in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        if depth == 50 or stage in (2, 5):
            stages.append([f"{stage}{letter}" for letter in "abcdefgh"[:count]])
        else:
            stages.append([f"{stage}a"] + [f"{stage}b{i}" for i in range(1, count)])
    return stages


def caffe_blobs(
    state: dict[str, torch.Tensor], depth: int, *, factor: float, conv1_bias: np.ndarray | None = None
) -> dict[str, list[np.ndarray]]:
    """Layer -> blobs as Caffe stores them, of a net given under torchvision's keys."""
    blobs: dict[str, list[np.ndarray]] = {}

    def put(conv: str, bn: str, scale: str, conv_key: str, bn_key: str, bias: np.ndarray | None = None) -> None:
        weight = state[f"{conv_key}.weight"].numpy()
        blobs[conv] = [weight[:, ::-1].copy() if conv == "conv1" else weight]
        mean = state[f"{bn_key}.running_mean"].double().numpy()
        if bias is not None:
            blobs[conv].append(bias)
            mean = mean + bias
        variance = state[f"{bn_key}.running_var"].double().numpy()
        one = np.full(1, factor)
        blobs[bn] = [np.float32(v) for v in (mean * factor, variance * factor, one)]
        blobs[scale] = [state[f"{bn_key}.weight"].numpy(), state[f"{bn_key}.bias"].numpy()]

    put("conv1", "bn_conv1", "scale_conv1", "conv1", "bn1", conv1_bias)
    for layer, names in enumerate(block_names(depth), start=1):
        for index, name in enumerate(names):
            if index == 0:
                places = [("1", "downsample.0", "downsample.1")]
            else:
                places = []
            places += [("2a", "conv1", "bn1"), ("2b", "conv2", "bn2"), ("2c", "conv3", "bn3")]
            for branch, conv, bn in places:
                block = f"layer{layer}.{index}"
                put(
                    *(f"{kind}{name}_branch{branch}" for kind in ("res", "bn", "scale")),
                    f"{block}.{conv}",
                    f"{block}.{bn}",
                )
    blobs["fc1000"] = [state["fc.weight"].numpy(), state["fc.bias"].numpy()]
    return blobs


def run_caffe(blobs: dict[str, list[np.ndarray]], depth: int, data: np.ndarray, *, eps: float = 1e-5) -> np.ndarray:
    """Logits of fc1000 for the blob `data` [N, 3, H, W] in B G R, mean subtracted."""
    tensors = {name: [torch.from_numpy(np.ascontiguousarray(b)) for b in parts] for name, parts in blobs.items()}

    def conv_bn_scale(x, suffix, conv, *, stride=1, pad=0):
        weight, *bias = tensors[conv]
        x = functional.conv2d(x, weight, bias[0] if bias else None, stride=stride, padding=pad)
        mean, variance, factor = tensors[f"bn{suffix}"]
        mean, variance = mean * (1 / factor), variance * (1 / factor)
        x = (x - mean[:, None, None]) / (variance + eps).sqrt()[:, None, None]
        gamma, beta = tensors[f"scale{suffix}"]
        return x * gamma[:, None, None] + beta[:, None, None]

    with torch.no_grad():
        x = conv_bn_scale(torch.from_numpy(data), "_conv1", "conv1", stride=2, pad=3).relu()
        x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=0, ceil_mode=True)
        for stage, names in enumerate(block_names(depth)):
            for index, name in enumerate(names):
                stride = 2 if stage and not index else 1
                shortcut = x
                if not index:
                    shortcut = conv_bn_scale(x, f"{name}_branch1", f"res{name}_branch1", stride=stride)
                y = conv_bn_scale(x, f"{name}_branch2a", f"res{name}_branch2a", stride=stride).relu()
                y = conv_bn_scale(y, f"{name}_branch2b", f"res{name}_branch2b", pad=1).relu()
                y = conv_bn_scale(y, f"{name}_branch2c", f"res{name}_branch2c")
                x = (shortcut + y).relu()
        return functional.linear(x.mean(dim=(2, 3)), *tensors["fc1000"]).numpy()


def caffemodel_bytes(blobs: dict[str, list[np.ndarray]], *, eps: float | None = None, strides: bool = True) -> bytes:
    """A NetParameter with today's `layer` list, as Caffe saves it: shapes in `shape`, layers without weights too."""
    net = _messages()["NetParameter"](name="ResNet")
    net.layer.add(name="data", type="Input")
    for name, parts in blobs.items():
        kind = {"b": "BatchNorm", "s": "Scale", "f": "InnerProduct"}.get(name[0], "Convolution")
        layer = net.layer.add(name=name, type=kind)
        if kind == "Convolution" and strides:
            second = name == "conv1" or name[3:] in [f"{s}a_branch{b}" for s in "345" for b in ("1", "2a")]
            layer.convolution_param.num_output = len(parts[0])
            layer.convolution_param.stride.append(2 if second else 1)
        if kind == "BatchNorm":
            layer.batch_norm_param.use_global_stats = True
            if eps is not None:
                layer.batch_norm_param.eps = eps
        for part in parts:
            blob = layer.blobs.add()
            blob.shape.dim.extend(part.shape)
            blob.data.extend(part.ravel().tolist())  # numpy scalars take ten times as long
        net.layer.add(name=f"{name}_relu", type="ReLU")
    return net.SerializeToString()


def v1_caffemodel_bytes(blobs: dict[str, list[np.ndarray]]) -> bytes:
    """A NetParameter with the old `layers` list: four legacy axes for every blob, gradients beside the values."""
    net = _messages()["NetParameter"](name="old")
    for name, parts in blobs.items():
        layer = net.layers.add(name=name, type=4)
        for part in parts:
            num, channels, height, width = (*(1,) * (4 - part.ndim), *part.shape)
            blob = layer.blobs.add(num=num, channels=channels, height=height, width=width)
            blob.data.extend(part.ravel().tolist())
            blob.diff.extend(np.zeros(part.size))
    return net.SerializeToString()


def _messages() -> dict:
    """The messages with their declared types (`data` as packed floats), in a pool of their own."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto2")
    table = {
        "BlobShape": [("dim", 1, field.TYPE_INT64, "packed")],
        "BlobProto": [
            *((name, i, field.TYPE_INT32, "") for i, name in enumerate(("num", "channels", "height", "width"), 1)),
            ("data", 5, field.TYPE_FLOAT, "packed"),
            ("diff", 6, field.TYPE_FLOAT, "packed"),
            ("shape", 7, "BlobShape", ""),
        ],
        "ConvolutionParameter": [
            ("num_output", 1, field.TYPE_UINT32, ""),
            ("stride", 6, field.TYPE_UINT32, "many"),
        ],
        "BatchNormParameter": [("use_global_stats", 1, field.TYPE_BOOL, ""), ("eps", 3, field.TYPE_FLOAT, "")],
        "LayerParameter": [
            ("name", 1, field.TYPE_STRING, ""),
            ("type", 2, field.TYPE_STRING, ""),
            ("blobs", 7, "BlobProto", "many"),
            ("convolution_param", 106, "ConvolutionParameter", ""),
            ("batch_norm_param", 139, "BatchNormParameter", ""),
        ],
        "V1LayerParameter": [
            ("name", 4, field.TYPE_STRING, ""),
            ("type", 5, field.TYPE_INT32, ""),
            ("blobs", 6, "BlobProto", "many"),
        ],
        "NetParameter": [
            ("name", 1, field.TYPE_STRING, ""),
            ("layers", 2, "V1LayerParameter", "many"),
            ("layer", 100, "LayerParameter", "many"),
        ],
    }
    for message, fields in table.items():
        described = file.message_type.add(name=message)
        for name, number, kind, form in fields:
            label = field.LABEL_REPEATED if form else field.LABEL_OPTIONAL
            added = described.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = field.TYPE_MESSAGE, f".oracle.{kind}"
            else:
                added.type = kind
            if form == "packed":
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"oracle.{name}")) for name in table}
