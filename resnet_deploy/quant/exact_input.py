"""The pixels themselves as the int8 input of the first convolution, in place of rounded normalised values.

An image has 256 levels a channel, and int8 has 256 values; yet a symmetric scale over the normalised input
spends them badly: its range is lopsided (bright blue lies 2.6 standard deviations up, black 1.8 down), so the
levels fall between the steps. On CIFAR nets that rounding is a fifth of all noise that INT8 adds to the logits.
Undoing the normalisation in front of the pair (x * 255 std + 255 mean - 128, whole numbers from -128 to 127) and
doing it in the first convolution's weights and bias makes the rounding exact, with a scale of 1.

The convolution's zero padding stands for the mean colour, which is not 0 in these units: so the padding becomes a
node of its own, in front. Its value is the only one that is rounded (by less than half a level).
"""

from __future__ import annotations

__all__ = ["PIXELS", "PIXEL_SCALE", "check_exact_input", "with_exact_input"]

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.graph.index import GraphIndex, attribute_of
from resnet_deploy.quant.placement import Refusal
from resnet_deploy.quant.table import TensorScale

PIXELS = "images.pixels"
"""The tensor of whole numbers."""
PIXEL_SCALE = TensorScale(amax=127.0, scale=1.0, minimum=-128.0, maximum=127.0, num_values=0, num_zeros=0)

_RULE = "exact input"
_MIDDLE = 128.0
_LEVELS = 255.0


def check_exact_input(model: onnx.ModelProto) -> onnx.NodeProto | Refusal:
    """The first convolution, if it alone reads the image; else why the rewrite does not apply."""
    image = model.graph.input[0].name
    graph = GraphIndex(model.graph)
    readers = graph.readers[image]
    if len(readers) != 1:
        return _refusal("", image, f"{len(readers)} nodes read the image, expected one convolution")
    node = readers[0].node
    if node.op_type != "Conv":
        return _refusal(node.name, image, f"a {node.op_type} reads the image, expected a convolution")
    weight = node.input[1]
    if not graph.is_constant(weight) or len(graph.readers[weight]) != 1:
        return _refusal(node.name, weight, "the weight is not a constant of this convolution alone")
    if graph.constant(weight).shape[1] != 3:
        return _refusal(node.name, weight, "the convolution has groups, or the image not three channels")
    if len(node.input) > 2 and (not graph.is_constant(node.input[2]) or len(graph.readers[node.input[2]]) != 1):
        return _refusal(node.name, node.input[2], "the bias is not a constant of this convolution alone")
    if attribute_of(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return _refusal(node.name, image, "the convolution has automatic padding")
    return node


def with_exact_input(model: onnx.ModelProto, preprocess: Preprocess) -> tuple[onnx.ModelProto, Refusal | None]:
    """A copy of the FP32 `model` that computes the same from whole-numbered pixels, or `model` and the reason not to.

    Args:
        preprocess: Its mean and std are those of the images that will come.
    """
    found = check_exact_input(model)
    if isinstance(found, Refusal):
        return model, found
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    conv = next(node for node in graph.node if node.name == found.name)
    std = _LEVELS * np.array(preprocess.std, dtype=np.float64)
    offset = _LEVELS * np.array(preprocess.mean, dtype=np.float64) - _MIDDLE
    _fold(graph, conv, std, offset)
    entry = [*_padding(graph, conv), *_affine(graph, conv, std, offset)]
    place = next(index for index, node in enumerate(graph.node) if node.name == conv.name)
    nodes = [*graph.node[:place], *entry, *graph.node[place:]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    return result, None


def _fold(graph: onnx.GraphProto, conv: onnx.NodeProto, std: np.ndarray, offset: np.ndarray) -> None:
    """W (p - offset) / std + b = W' p + b', with W' = W / std and b' = b - sum of W' offset."""
    index = GraphIndex(graph)
    weight = index.constant(conv.input[1]).astype(np.float64) / std[None, :, None, None]
    bias = index.constant(conv.input[2]).astype(np.float64) if len(conv.input) > 2 else np.zeros(len(weight))
    bias = bias - (weight.sum(axis=(2, 3)) * offset).sum(axis=1)
    index.initializer(conv.input[1]).CopyFrom(numpy_helper.from_array(weight.astype(np.float32), conv.input[1]))
    if len(conv.input) > 2:
        index.initializer(conv.input[2]).CopyFrom(numpy_helper.from_array(bias.astype(np.float32), conv.input[2]))
    else:
        conv.input.append(f"{conv.name}.bias")
        graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), f"{conv.name}.bias"))


def _padding(graph: onnx.GraphProto, conv: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The convolution's padding as a node of its own, which then is the one that reads the image."""
    pads = attribute_of(conv, "pads", [0, 0, 0, 0])
    if not any(pads):
        return []
    image, padded = conv.input[0], "images.padded"
    for attribute in conv.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0, 0, 0, 0]
    amounts = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], dtype=np.int64)
    graph.initializer.append(numpy_helper.from_array(amounts, f"{padded}.amounts"))
    conv.input[0] = padded
    return [helper.make_node("Pad", [image, f"{padded}.amounts"], [padded], name=padded, mode="constant")]


def _affine(graph: onnx.GraphProto, conv: onnx.NodeProto, std: np.ndarray, offset: np.ndarray) -> list[onnx.NodeProto]:
    image, scaled = conv.input[0], "images.levels"
    for name, values in ((f"{scaled}.factor", std), (f"{PIXELS}.offset", offset)):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32).reshape(1, 3, 1, 1), name))
    conv.input[0] = PIXELS
    return [
        helper.make_node("Mul", [image, f"{scaled}.factor"], [scaled], name=scaled),
        helper.make_node("Add", [scaled, f"{PIXELS}.offset"], [PIXELS], name=PIXELS),
    ]


def _refusal(node: str, tensor: str, reason: str) -> Refusal:
    return Refusal(node=node, tensor=tensor, rule=_RULE, reason=reason)
