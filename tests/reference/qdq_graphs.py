"""A small residual network written down by hand, its Q/DQ form, and ways to put faults into it."""

from __future__ import annotations

__all__ = [
    "add_pair",
    "bypass_pair",
    "int8_residual",
    "node_of",
    "pair_on",
    "residual_onnx",
    "set_constant",
]

from functools import lru_cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.specs import Precision
from tests.reference.small_networks import copy_of, make_table, quantize_model


def residual_onnx() -> onnx.ModelProto:
    """ResNet-50's forms on 32 px: stem, max-pool, bottlenecks with a projection of stride 1, an identity, and a
    projection of stride 2, global average pool, classifier. Names as torchvision's; 12 convolutions, 3 additions.
    """
    return copy_of(_residual())


def int8_residual() -> onnx.ModelProto:
    """That network as `quantize` writes it, floats in FP32."""
    return copy_of(_int8())


@lru_cache
def _int8() -> onnx.ModelProto:
    model = residual_onnx()
    return quantize_model(model, make_table(model), float_precision=Precision.FP32)[0]


@lru_cache
def _residual() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def layer(op: str, name: str, source: str, shape: tuple[int, ...], **attributes) -> str:
        weight = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
        bias = rng.standard_normal(shape[0], dtype=np.float32)
        constants.append(numpy_helper.from_array(weight, f"{name}.weight"))
        constants.append(numpy_helper.from_array(bias, f"{name}.bias"))
        return plain(op, name, source, f"{name}.weight", f"{name}.bias", **attributes)

    def plain(op: str, name: str, *sources: str, **attributes) -> str:
        nodes.append(helper.make_node(op, list(sources), [name], name=name, **attributes))
        return name

    def block(name: str, source: str, width: int, inputs: int, stride: int) -> str:
        x = layer("Conv", f"{name}.conv1", source, (width, inputs, 1, 1))
        x = plain("Relu", f"{name}.relu", x)
        x = layer("Conv", f"{name}.conv2", x, (width, width, 3, 3), pads=[1] * 4, strides=[stride] * 2)
        x = plain("Relu", f"{name}.relu_1", x)
        x = layer("Conv", f"{name}.conv3", x, (4 * width, width, 1, 1))
        if inputs != 4 * width:
            source = layer("Conv", f"{name}.downsample.0", source, (4 * width, inputs, 1, 1), strides=[stride] * 2)
        return plain("Relu", f"{name}.relu_2", plain("Add", f"{name}.add", x, source))

    x = layer("Conv", "conv1", "images", (8, 3, 7, 7), pads=[3] * 4, strides=[2, 2])
    x = plain("Relu", "relu", x)
    x = plain("MaxPool", "maxpool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    x = block("layer1.0", x, 4, 8, 1)
    x = block("layer1.1", x, 4, 16, 1)
    x = block("layer2.0", x, 8, 16, 2)
    x = plain("Flatten", "flatten", plain("GlobalAveragePool", "avgpool", x))
    layer("Gemm", "fc", x, (10, 32), transB=1)
    nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The node of that name."""
    return next(node for node in model.graph.node if node.name == name)


def set_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    """Give an initializer another value, or make it."""
    tensor = numpy_helper.from_array(np.asarray(value), name)
    for initializer in model.graph.initializer:
        if initializer.name == name:
            initializer.CopyFrom(tensor)
            return
    model.graph.initializer.append(tensor)


def bypass_pair(model: onnx.ModelProto, reader: str, position: int = 0) -> str:
    """Let input `position` of node `reader` read the tensor before its pair; returns that tensor."""
    node = node_of(model, reader)
    makers = {name: n for n in model.graph.node for name in n.output}
    tensor = makers[makers[node.input[position]].input[0]].input[0]
    node.input[position] = tensor
    return tensor


def add_pair(model: onnx.ModelProto, reader: str, position: int = 0, *, scale: float = 0.05) -> str:
    """Put a pair of its own on input `position` of node `reader`; returns the name of its QuantizeLinear."""
    node = node_of(model, reader)
    tensor = node.input[position]
    base = f"{tensor}.planted"
    nodes, node.input[position] = pair_on(model, tensor, base, scale=scale), f"{base}.dq"
    place = next(i for i, n in enumerate(model.graph.node) if n.name == reader)
    for number, made in enumerate(nodes):
        model.graph.node.insert(place + number, made)
    return f"{base}.quantize"


def pair_on(model: onnx.ModelProto, tensor: str, base: str, *, scale: float) -> list[onnx.NodeProto]:
    """A pair that is not yet in the graph; its result is `<base>.dq`."""
    set_constant(model, f"{base}.scale", np.float32(scale))
    set_constant(model, f"{base}.zero", np.int8(0))
    operands = [f"{base}.scale", f"{base}.zero"]
    return [
        helper.make_node("QuantizeLinear", [tensor, *operands], [f"{base}.int8"], name=f"{base}.quantize"),
        helper.make_node("DequantizeLinear", [f"{base}.int8", *operands], [f"{base}.dq"], name=f"{base}.dequantize"),
    ]
