"""Follows int8 values through a Q/DQ graph: what they come from, who takes them, what TensorRT fuses on the way."""

from __future__ import annotations

__all__ = ["POOLS", "Ends", "Flow", "dequantized", "residual_additions"]

from typing import NamedTuple

import numpy as np
import onnx

from resnet_deploy.graph.index import GraphIndex, name_of
from resnet_deploy.graph.pixel_prefix import PREFIX
from resnet_deploy.quant.audit_result import AdditionAudit
from resnet_deploy.quant.qdq import QuantizedValue, quantized_activation, quantized_weight

POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_COMMUTING = {
    "Cast",
    "Flatten",
    "GlobalMaxPool",
    "MaxPool",
    "Pad",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""They choose or move values, so they give the same before and behind a pair of one scale."""
_ACTIVATIONS = {"Relu", "Clip"}
"""Computed inside the convolution before them."""


class Ends(NamedTuple):
    """Where a float result arrives: at QuantizeLinear nodes, and at readers in floating point, in words."""

    quantizers: tuple[onnx.NodeProto, ...]
    floats: tuple[str, ...]

    @property
    def all_int8(self) -> bool:
        """The result is written in int8 and in no other type."""
        return bool(self.quantizers) and not self.floats


class Flow:
    """A graph together with the knowledge which of its layers have int8 inputs.

    Args:
        int8_layers: Names of the convolutions and matrix products that read int8 activations and weights.
    """

    def __init__(self, graph: GraphIndex, int8_layers: set[str]) -> None:
        self.graph = graph
        self.int8_layers = int8_layers
        self.outputs = {tensor.name for tensor in graph.graph.output}
        self.additions = {node.name: self._judge_addition(node) for node in residual_additions(graph)}

    def ends(self, tensor: str) -> Ends:
        """Who reads a layer's result, behind what TensorRT fuses with the layer and what commutes with Q/DQ."""
        quantizers, floats = [], []
        if tensor in self.outputs:
            floats.append(f"the graph's output {tensor!r}")
        for node, position in self.graph.readers[tensor]:
            if node.op_type == "QuantizeLinear":
                quantizers.append(node)
            elif self._is_fused(node, tensor) or (position == 0 and _commutes(self.graph, node)):
                behind = self.ends(node.output[0])
                quantizers += behind.quantizers
                floats += behind.floats
            else:
                floats.append(name_of(node))
        return Ends(tuple(quantizers), tuple(floats))

    def takers(self, tensor: str) -> list[onnx.NodeProto | str]:
        """Who reads a dequantised tensor, behind what commutes with Q/DQ: nodes, or the name of a graph output."""
        found: list[onnx.NodeProto | str] = [tensor] if tensor in self.outputs else []
        for node, position in self.graph.readers[tensor]:
            if position == 0 and _commutes(self.graph, node):
                found += self.takers(node.output[0])
            else:
                found.append(node)
        return found

    def runs_int8(self, node: onnx.NodeProto) -> bool:
        """Whether the node computes with int8 inputs without a conversion of their type."""
        if node.name in self.int8_layers:
            return True
        addition = self.additions.get(node.name)
        if addition is not None and addition.fuses:
            return True
        if addition is None and node.op_type not in ("AveragePool", "GlobalAveragePool", "Concat", "Mul"):
            return False
        inputs = [name for name in node.input if name and not self.graph.is_constant(name)]
        values = [dequantized(self.graph, name) for name in inputs]
        return all(v is not None and not v.faults for v in values) and self.ends(node.output[0]).all_int8

    def _is_fused(self, node: onnx.NodeProto, tensor: str) -> bool:
        if node.op_type in _ACTIVATIONS:
            return True
        if node.op_type != "Add":
            return False
        addition = self.additions.get(node.name)
        if addition is None:  # a bias: one addend is a constant
            return True
        return addition.fuses and dequantized(self.graph, tensor) is None

    def _judge_addition(self, node: onnx.NodeProto) -> AdditionAudit:
        values = [dequantized(self.graph, name) for name in node.input]
        convolution, reason = "", ""
        if values[0] is None and values[1] is None:
            shortcut = min(node.input, key=self._num_layers_before)
            reason = f"neither addend comes out of a pair: give the shortcut {shortcut!r} one"
        elif values[0] is not None and values[1] is not None:
            longer = max((0, 1), key=lambda side: self._num_layers_before(node.input[side]))
            pair, behind = values[longer].quantize, values[longer].tensor
            reason = f"both addends come out of pairs: remove {pair!r} behind {behind!r}, so that its layer can fuse"
        else:
            bare = 0 if values[0] is None else 1
            value = values[1 - bare]
            convolution, reason = self._judge_bare_addend(node, node.input[bare], value)
        return AdditionAudit(node=node.name, fuses=not reason, convolution="" if reason else convolution, reason=reason)

    def _judge_bare_addend(self, node: onnx.NodeProto, tensor: str, value: QuantizedValue) -> tuple[str, str]:
        layer = self.graph.producer(tensor)
        while layer is not None and layer.op_type == "Cast":
            layer = self.graph.producer(layer.input[0])
        if value.faults:
            return "", f"its pair {value.quantize!r}: {value.faults[0]}"
        if layer is None or layer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            what = name_of(layer)
            if layer is not None and layer.op_type == "BatchNormalization":
                return "", f"{what} stands between the convolution and the addition: fold it"
            return "", (
                f"the addend without a pair comes from {what}, not from a convolution: "
                f"move the pair from {value.tensor!r} to {tensor!r}"
            )
        if layer.name not in self.int8_layers:
            return "", f"{name_of(layer)}, whose result is added, does not read int8"
        others = [name_of(reader.node) for reader in self.graph.readers[tensor] if reader.node.name != node.name]
        if others or tensor in self.outputs:
            return "", f"the result of {name_of(layer)} is also read by {', '.join(others) or 'the caller'}"
        return layer.name, ""

    def _num_layers_before(self, tensor: str) -> int:
        """Convolutions on the way from the network's input, along first inputs."""
        count = 0
        while (node := self.graph.producer(tensor)) is not None and node.input:
            count += node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
            tensor = node.input[0]
        return count


def residual_additions(graph: GraphIndex) -> list[onnx.NodeProto]:
    """Additions of two computed tensors; a bias, quantised or not, is none, nor is what prepares the image."""
    return [
        node
        for node in graph.graph.node
        if node.op_type == "Add"
        and not node.name.startswith(f"{PREFIX}.")
        and not any(quantized_weight(graph, name)[0] for name in node.input)
    ]


def dequantized(graph: GraphIndex, tensor: str) -> QuantizedValue | None:
    """The pair that a tensor comes out of, directly or behind operators that commute with it."""
    while (node := graph.producer(tensor)) is not None and _commutes(graph, node):
        tensor = node.input[0]
    return quantized_activation(graph, tensor)


def _commutes(graph: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type != "Pad" or len(node.input) < 3 or not node.input[2]:
        return node.op_type in _COMMUTING
    if not graph.is_constant(node.input[2]):
        return False
    value = graph.constant(node.input[2]).astype(np.float64)
    if not np.any(value):
        return True
    pair = dequantized(graph, node.input[0])  # a constant of the pair's own grid
    if pair is None or pair.scale is None or pair.scale.size > 1:
        return False
    steps = value / pair.scale.astype(np.float64).reshape(-1)[0]
    return bool(np.all((steps == np.rint(steps)) & (np.abs(steps + 0.5) < 128)))
