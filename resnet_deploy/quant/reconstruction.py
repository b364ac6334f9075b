"""Refinement after rounding, layer by layer, from unlabelled images: bias correction and adaptive rounding.

Both go through the quantised network from its input on, with all images at once: when a layer's input is there, as
the layers before it (already refined) make it, its weights are rounded for that input; when its output is there,
its bias takes up the mean difference to the FP32 network. One forward pass of each network in all.
"""

from __future__ import annotations

__all__ = ["RECONSTRUCTIONS", "reconstruct"]

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.graph.index import attribute_of, attributes_of
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.quant.adaptive_rounding import input_moments, round_with_compensation

RECONSTRUCTIONS = ("bias", "rounding")

_CHUNK = 16
_CHUNK_PIXELS = 2**18
"""Images of one FP32 pass, 16 or so many pixels (5 images of 224 px): fixed, so that the result depends on them alone."""


def reconstruct(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    images: np.ndarray,
    refinements: Sequence[str],
    *,
    progress: Progress = NO_PROGRESS,
) -> onnx.ModelProto:
    """A copy of `quantized` with other int8 weights and biases; its scales, nodes and names stay.

    Args:
        original: FP32.
        quantized: What `insert_qdq` made of it; its floats are FP32.
        images: [N, 3, H, W] float32, preprocessed. A few hundred; all are in memory at once, and with them the
            activations of the two or three tensors that are in use at a time.
        refinements: Names of RECONSTRUCTIONS.
    Raises:
        ConfigError: An unknown refinement.
        GraphError: An operator that can not be run in PyTorch here; lists them.
    Source: bias correction: Nagel et al., arXiv:1906.04721, section 4.2 (with data). Adaptive rounding: see
        `quant.adaptive_rounding`.
    """
    if unknown := [name for name in refinements if name not in RECONSTRUCTIONS]:
        raise ConfigError(f"unknown refinement {unknown[0]!r}", remedy=f"known are {', '.join(RECONSTRUCTIONS)}")
    reference, graph = TorchGraph(original), TorchGraph(_with_weights_late(quantized))
    layers = _int8_layers(graph)
    progress.start(f"refine: {' and '.join(refinements)}", len(layers))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are the same on every machine then
    try:
        with torch.no_grad():
            wanted = [layer.output for layer in layers if layer.bias] if "bias" in refinements else []
            means = _output_means(reference, images, wanted)
            originals = {layer.weight: reference.constants[layer.weight_name] for layer in layers}
            change = _changes(layers, means, originals if "rounding" in refinements else {}, progress)
            batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
            graph.run({graph.input_names[0]: batch}, change=change)
    finally:
        torch.set_num_threads(threads)
    return _written(quantized, graph, layers)


def _with_weights_late(quantized: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a weight is dequantised right before it is read: after its layer's input, so once it is rounded."""
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    constants = {tensor.name for tensor in quantized.graph.initializer}
    is_weight = [node.op_type == "DequantizeLinear" and node.input[0] in constants for node in quantized.graph.node]
    weights = {node.output[0]: node for node, late in zip(quantized.graph.node, is_weight, strict=True) if late}
    del result.graph.node[:]
    for node, late in zip(quantized.graph.node, is_weight, strict=True):
        if not late:
            result.graph.node.extend(weights.pop(name) for name in node.input if name in weights)
            result.graph.node.append(node)
    return result


class _Layer:
    """A Conv or Gemm with an int8 weight behind a DequantizeLinear."""

    def __init__(self, node: onnx.NodeProto, dequantize: onnx.NodeProto, graph: TorchGraph) -> None:
        self.input, self.output = node.input[0], node.output[0]
        self.weight = dequantize.input[0]
        self.bias = node.input[2] if len(node.input) > 2 else None
        self._graph, self._scale, self._op_type = graph, dequantize.input[1], node.op_type
        self._attributes = attributes_of(node)
        self._axis = attribute_of(dequantize, "axis", 1)

    @property
    def weight_name(self) -> str:
        """Of the float weight in the FP32 graph, after which `insert_qdq` names the int8 one."""
        return self.weight.rpartition(".")[0]

    def round(self, values: Tensor, original: Tensor, *, centred: bool) -> None:
        """Round the float weight `original` for the layer's input `values`.

        Args:
            centred: The bias takes up the mean error, so only what varies counts.
        """
        constants = self._graph.constants
        rows = original.movedim(self._axis, 0)
        moments = input_moments(values, self._op_type, self._attributes, tuple(original.shape[2:]))
        scale = constants[self._scale].reshape(-1).expand(len(rows))
        second = moments.covariance if centred else moments.second
        rounded = round_with_compensation(rows.reshape(len(rows), -1), second, scale)
        constants[self.weight] = rounded.reshape(rows.shape).movedim(0, self._axis).contiguous()

    def correct(self, values: Tensor, mean: Tensor) -> Tensor:
        """Move the bias so that the mean output of every channel is `mean`; gives the corrected output."""
        difference = (mean - _channel_sums(values) / (values.numel() / values.shape[1])).float()
        self._graph.constants[self.bias] = self._graph.constants[self.bias] + difference
        return values + difference.reshape([1, -1] + [1] * (values.dim() - 2))


def _int8_layers(graph: TorchGraph) -> list[_Layer]:
    made_by = {name: node for node in graph.nodes for name in node.output}
    layers = []
    for node in graph.nodes:
        dequantize = made_by.get(node.input[1]) if node.op_type in ("Conv", "Gemm") else None
        if dequantize is not None and dequantize.op_type == "DequantizeLinear":
            layers.append(_Layer(node, dequantize, graph))
    return layers


def _changes(
    layers: Sequence[_Layer], means: dict[str, Tensor], originals: dict[str, Tensor], progress: Progress
) -> dict[str, Callable[[Tensor], Tensor]]:
    """What to do when a tensor of the quantised network is there."""
    readers: dict[str, list[_Layer]] = defaultdict(list)
    makers = {layer.output: layer for layer in layers}
    for layer in layers if originals else ():
        readers[layer.input].append(layer)

    def refine(name: str) -> Callable[[Tensor], Tensor]:
        def change(values: Tensor) -> Tensor:
            if name in means:
                values = makers[name].correct(values, means[name])
            for layer in readers[name]:
                layer.round(values, originals[layer.weight], centred=layer.output in means)
            if name in makers:
                progress.advance()
            return values

        return change

    return {name: refine(name) for name in {*readers, *makers}}


def _output_means(graph: TorchGraph, images: np.ndarray, names: list[str]) -> dict[str, Tensor]:
    """Mean over images and positions of every channel, float64; no tensor is kept for it."""
    sums = {name: torch.zeros((), dtype=torch.float64) for name in names}
    counts = dict.fromkeys(names, 0)

    def adder(name: str) -> Callable[[Tensor], Tensor]:
        def add(values: Tensor) -> Tensor:
            sums[name] = sums[name] + _channel_sums(values)
            counts[name] += values.numel() // values.shape[1]
            return values

        return add

    change = {name: adder(name) for name in names}
    chunk = max(1, min(_CHUNK, _CHUNK_PIXELS // (images.shape[2] * images.shape[3])))
    for start in range(0, len(images) if names else 0, chunk):
        batch = torch.from_numpy(images[start : start + chunk]).contiguous(memory_format=torch.channels_last)
        graph.run({graph.input_names[0]: batch}, change=change)
    return {name: sums[name] / counts[name] for name in names}


def _channel_sums(values: Tensor) -> Tensor:
    """[K] float64 of [N, K, ...]; image by image, as torch makes a float64 copy of what it sums."""
    inner = list(range(1, values.dim() - 1))
    return torch.stack([image.sum(inner, dtype=torch.float64) if inner else image.double() for image in values]).sum(0)


def _written(quantized: onnx.ModelProto, graph: TorchGraph, layers: Sequence[_Layer]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    changed = {layer.weight: np.int8 for layer in layers}
    changed |= {layer.bias: np.float32 for layer in layers if layer.bias}
    for initializer in result.graph.initializer:
        if initializer.name in changed:
            values = graph.constants[initializer.name].numpy().astype(changed[initializer.name])
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return result
