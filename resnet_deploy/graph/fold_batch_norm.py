"""Graph pass: batch normalisation folded into the convolution or matrix product before it."""

from __future__ import annotations

__all__ = ["BatchNormFold", "FoldResult", "NotFolded", "check_batch_norm", "fold_batch_norms"]

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from resnet_deploy.graph.index import GraphIndex, attribute_of

_EPSILON = 1e-5  # ONNX's default


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchNormFold:
    """A batch normalisation that goes into `layer`; both are node names."""

    node: str
    layer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotFolded:
    """A batch normalisation that stays.

    Attributes:
        tensor: The tensor that is in the way.
    """

    node: str
    tensor: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """What the pass did, in the graph's order."""

    folded: tuple[BatchNormFold, ...]
    refused: tuple[NotFolded, ...]


def fold_batch_norms(model: onnx.ModelProto) -> tuple[onnx.ModelProto, FoldResult]:
    """A copy of `model` whose convolutions hold the batch normalisations behind them.

    w' = w * gamma / sqrt(var + eps), b' = beta + (b - mean) * gamma / sqrt(var + eps), computed in float64 and
    rounded once. Tensors keep their names, but for the one between the two nodes, which is gone. A weight that
    another node reads too is copied first.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    folded: list[BatchNormFold] = []
    refused: list[NotFolded] = []
    for name in [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]:
        index = GraphIndex(result.graph)
        node = next(n for n in result.graph.node if n.name == name)
        answer = check_batch_norm(index, node)
        if isinstance(answer, NotFolded):
            refused.append(answer)
            continue
        _rewrite(result.graph, index, node)
        folded.append(answer)
    return result, FoldResult(folded=tuple(folded), refused=tuple(refused))


def check_batch_norm(graph: GraphIndex, node: onnx.NodeProto) -> BatchNormFold | NotFolded:
    """Whether a batch normalisation can be folded into the layer before it, and if not, why not."""
    source = node.input[0]
    layer = graph.producer(source)

    def refuse(tensor: str, reason: str) -> NotFolded:
        return NotFolded(node=node.name, tensor=tensor, reason=reason)

    if attribute_of(node, "training_mode", 0) or any(graph.readers[name] for name in node.output[1:]):
        return refuse(node.output[0], "it is set to training: it normalises by the batch's own statistics")
    if layer is None or layer.op_type not in ("Conv", "Gemm"):
        what = "the network's input" if layer is None else f"{layer.op_type} {layer.name!r}"
        return refuse(source, f"{what} is before it, not a convolution or Gemm")
    if source in {tensor.name for tensor in graph.graph.output}:
        return refuse(source, f"the result of {layer.name!r} is an output of the graph")
    others = [reader.node.name for reader in graph.readers[source] if reader.node.name != node.name]
    if others:
        return refuse(source, f"the result of {layer.name!r} is also read by {', '.join(map(repr, others))}")
    constants = [*node.input[1:5], *[name for name in layer.input[1:] if name]]
    if computed := next((name for name in constants if not graph.is_constant(name)), None):
        return refuse(computed, "it is computed, not a constant")
    return _check_values(graph, node, layer) or BatchNormFold(node=node.name, layer=layer.name)


def _check_values(graph: GraphIndex, node: onnx.NodeProto, layer: onnx.NodeProto) -> NotFolded | None:
    def refuse(tensor: str, reason: str) -> NotFolded:
        return NotFolded(node=node.name, tensor=tensor, reason=reason)

    if layer.op_type == "Gemm" and (attribute_of(layer, "alpha", 1.0) != 1 or attribute_of(layer, "beta", 1.0) != 1):
        return refuse(layer.input[1], f"{layer.name!r} has alpha or beta")
    channels = graph.initializer(layer.input[1]).dims[_channel_axis(layer)]
    for name in node.input[1:5]:
        if list(graph.initializer(name).dims) != [channels]:
            return refuse(name, f"it has shape {list(graph.initializer(name).dims)}, expected [{channels}]")
    if len(layer.input) > 2 and layer.input[2] and graph.constant(layer.input[2]).size not in (1, channels):
        return refuse(layer.input[2], f"the bias of {layer.name!r} is not one number per channel")
    factor, shift = _factor_and_shift(graph, node)
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        channel = int(np.argmin(np.isfinite(factor) & np.isfinite(shift)))
        return refuse(node.input[4], f"the normalisation of channel {channel} is not finite: variance or parameters")
    return None


def _factor_and_shift(graph: GraphIndex, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """y = factor * x + shift, per channel, float64."""
    gamma, beta, mean, variance = (graph.constant(name).astype(np.float64) for name in node.input[1:5])
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = gamma / np.sqrt(variance + attribute_of(node, "epsilon", _EPSILON))
        return factor, beta - mean * factor


def _rewrite(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto) -> None:
    layer = index.producers[node.input[0]]
    factor, shift = _factor_and_shift(index, node)
    weight = index.constant(layer.input[1])
    axis = _channel_axis(layer)
    along = [-1 if i == axis else 1 for i in range(weight.ndim)]
    new_weight = (weight.astype(np.float64) * factor.reshape(along)).astype(weight.dtype)
    has_bias = len(layer.input) > 2 and layer.input[2] != ""
    bias = index.constant(layer.input[2]).astype(np.float64).reshape(-1) if has_bias else 0.0
    new_bias = (factor * bias + shift).astype(weight.dtype)
    while len(layer.input) < 3:
        layer.input.append("")
    for position, value, fallback in ((1, new_weight, "weight"), (2, new_bias, "bias")):
        name = layer.input[position]
        if not name or len(index.readers[name]) > 1:
            name = _free_name(graph, name or f"{layer.name}.{fallback}")
        layer.input[position] = name
        _set_initializer(graph, numpy_helper.from_array(value, name))
    source, layer.output[0] = node.input[0], node.output[0]
    unread = {name for name in node.input[1:5] if len(index.readers[name]) == 1}
    graph.node.remove(node)
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name in unread:
            del graph.initializer[place]
    for place in reversed(range(len(graph.value_info))):
        if graph.value_info[place].name in (source, *unread):
            del graph.value_info[place]


def _channel_axis(layer: onnx.NodeProto) -> int:
    return 0 if layer.op_type == "Conv" or attribute_of(layer, "transB", 0) else 1


def _set_initializer(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> None:
    for initializer in graph.initializer:
        if initializer.name == tensor.name:
            initializer.CopyFrom(tensor)
            return
    graph.initializer.append(tensor)


def _free_name(graph: onnx.GraphProto, wanted: str) -> str:
    taken = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name
