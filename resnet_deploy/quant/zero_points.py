"""Zero points of -128 made into biases: the form that TensorRT takes, see `quant.unsigned`."""

from __future__ import annotations

__all__ = ["lower_zero_points"]

from collections import defaultdict

import numpy as np
import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex, attribute_of, name_of
from resnet_deploy.quant.unsigned import ZERO_POINT


def lower_zero_points(quantized: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy that computes the same, in which no activation has a zero point of -128, and the layers with a shift.

    A shifted bias is some hundred steps large, so a float of 16 bits rounds it by a good part of a step.

    Args:
        quantized: As `insert_qdq` wrote it for the tensors of `find_unsigned`; its floats are FP32.
    Source: Jacob et al., arXiv:1712.05877, equation 7: zero points only add constants to a product's result.
    """
    graph = GraphIndex(quantized.graph)
    if not any(_is_shifted(graph, node) for node in quantized.graph.node):
        return quantized, ()
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    return _Lowering(result).done()


def _is_shifted(graph: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type != "QuantizeLinear" or len(node.input) < 3 or not graph.is_constant(node.input[2]):
        return False
    value = graph.constant(node.input[2])
    return value.dtype == np.int8 and bool((value == ZERO_POINT).any())


class _Lowering:
    """Edits a graph in place; `amounts` is how much is added to the bias of each layer, [K] or a number."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._graph = GraphIndex(model.graph)
        self._amounts: dict[str, np.ndarray | float] = defaultdict(float)
        self._removed: set[str] = set()
        self._added: dict[str, list[onnx.NodeProto]] = {}
        self._padded: dict[tuple[str, tuple[int, ...]], str] = {}

    def done(self) -> tuple[onnx.ModelProto, tuple[str, ...]]:
        """The edited model, and the names of the layers whose bias was changed."""
        for node in list(self._model.graph.node):
            if _is_shifted(self._graph, node):
                self._lower(node)
        for name, amount in self._amounts.items():
            self._add_to_bias(name, amount)
        nodes = [n for node in self._model.graph.node if node.name not in self._removed for n in self._with_added(node)]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self._model.graph.node[:]
        self._model.graph.node.extend(copies)
        self._drop_unread()
        return self._model, tuple(self._amounts)

    def _lower(self, quantize: onnx.NodeProto) -> None:
        shift = float(self._graph.constant(quantize.input[1])) * -ZERO_POINT
        relu = self._graph.producer(quantize.input[0], "Relu")
        if relu is not None:
            quantize.input[0] = relu.input[0]
            self._removed.add(relu.name)
            self._amounts[self._layer_before(relu.input[0])] -= shift
        zero = self._zero_point()
        quantize.input[2] = zero
        for dequantize, _ in self._graph.readers[quantize.output[0]]:
            dequantize.input[2] = zero
            self._absorb(dequantize.output[0], shift, (quantize.input[1], zero))

    def _absorb(self, tensor: str, shift: float, parameters: tuple[str, str]) -> None:
        """Let all that read `tensor`, which is too small by `shift`, give what they gave."""
        for node, position in self._graph.readers[tensor]:
            if node.op_type in ("Conv", "Gemm"):
                self._amounts[node.name] += shift * self._weight_sums(node)
                if any(attribute_of(node, "pads", ())):
                    self._pad(node, shift, parameters)
            elif node.op_type == "Add":
                self._amounts[self._layer_before(node.input[1 - position])] += shift
            elif node.op_type == "Pad":
                del node.input[2:]
                node.input.append(self._constant(f"{node.name}.value", np.float32(-shift)))
                self._absorb(node.output[0], shift, parameters)
            elif node.op_type in ("MaxPool", "Slice"):
                self._absorb(node.output[0], shift, parameters)
            elif node.op_type != "QuantizeLinear":
                raise GraphError(f"{name_of(node)} reads {tensor!r}, which has a zero point of {ZERO_POINT}")

    def _layer_before(self, tensor: str) -> str:
        node = self._graph.producer(tensor)
        if node is not None and node.op_type == "Add":
            node = next(
                (n for n in map(self._graph.producer, node.input) if n is not None and n.op_type == "Conv"), None
            )
        if node is None or node.op_type != "Conv":
            raise GraphError(f"{name_of(node)} makes {tensor!r}, expected a convolution whose bias can be changed")
        return node.name

    def _weight_sums(self, node: onnx.NodeProto) -> np.ndarray:
        """Of each output channel, as the file rounds its weights."""
        dequantize = self._graph.producer(node.input[1], "DequantizeLinear")
        if dequantize is None:
            raise GraphError(f"the weight of {name_of(node)} is not int8")
        values = np.moveaxis(self._graph.constant(dequantize.input[0]), attribute_of(dequantize, "axis", 1), 0)
        sums = values.reshape(len(values), -1).sum(axis=1, dtype=np.int64)
        return sums * self._graph.constant(dequantize.input[1]).astype(np.float64)

    def _pad(self, conv: onnx.NodeProto, shift: float, parameters: tuple[str, str]) -> None:
        """Padding of its own, and a second pair of the same scale, which changes no value, behind it."""
        source, pads = conv.input[0], tuple(attribute_of(conv, "pads", ()))
        if (source, pads) not in self._padded:
            name = f"{source}.padded" + (f"_{len(self._padded)}" if any(s == source for s, _ in self._padded) else "")
            half = len(pads) // 2
            amounts = self._constant(f"{name}.amounts", np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64))
            value = self._constant(f"{name}.value", np.float32(-shift))
            stored, result = f"{name}.int8", f"{name}.dq"
            self._added[self._graph.producer(source).name] = [
                *self._added.get(self._graph.producer(source).name, []),
                helper.make_node("Pad", [source, amounts, value], [name], name=name, mode="constant"),
                helper.make_node("QuantizeLinear", [name, *parameters], [stored], name=f"{name}.quantize"),
                helper.make_node("DequantizeLinear", [stored, *parameters], [result], name=f"{name}.dequantize"),
            ]
            self._padded[source, pads] = result
        conv.input[0] = self._padded[source, pads]
        next(a for a in conv.attribute if a.name == "pads").ints[:] = [0] * len(pads)

    def _add_to_bias(self, name: str, amount: np.ndarray | float) -> None:
        node = next(node for node in self._model.graph.node if node.name == name)
        num_channels = len(self._weight_sums(node))
        if len(node.input) > 2 and node.input[2]:
            bias = self._graph.initializer(node.input[2])
            values = (self._graph.constant(bias.name).astype(np.float64) + amount).astype(np.float32)
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        else:
            del node.input[2:]
            values = (np.zeros(num_channels) + amount).astype(np.float32)
            node.input.append(self._constant(f"{name}.bias", values))

    def _constant(self, name: str, values: np.ndarray) -> str:
        self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _zero_point(self) -> str:
        name = "zero_point"
        if name not in {tensor.name for tensor in self._model.graph.initializer}:
            self._constant(name, np.int8(0))
        return name

    def _with_added(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [node, *self._added.get(node.name, [])]

    def _drop_unread(self) -> None:
        read = {name for node in self._model.graph.node for name in node.input}
        kept = [tensor for tensor in self._model.graph.initializer if tensor.name in read]
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self._model.graph.initializer[:]
        self._model.graph.initializer.extend(copies)
