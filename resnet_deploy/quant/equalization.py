"""Equalisation: each channel as large as suits the one scale it is rounded with, learnt from unlabelled images.

Most of INT8's noise is that of activations, rounded with one scale a tensor: a channel of small values is rounded
in steps that a large one needs. Channels can be multiplied by positive factors without changing what the network
computes (see `graph.channel_classes`), so how large they are is free; and so is each tensor's scale. Making all
channels equally large is not best, since an error in one may matter to the answer and in another not at all, and a
factor is shared by all additions of a stage. So factors, scales and biases are learnt together, by descent from
where they are, to bring the logits of the rounded network as near to those of the FP32 network as they get.
"""

from __future__ import annotations

__all__ = ["Equalized", "equalize"]

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.channel_classes import ChannelClasses, ScaledLayer, find_channel_classes, scale_channels
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.rounding import stored_scale, weight_scale
from resnet_deploy.graph.rounding_points import (
    RoundedActivation,
    RoundedWeight,
    find_rounded_activations,
    find_rounded_weights,
)
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.torch_ops import fake_quantize
from resnet_deploy.quant.exact_input import PIXELS
from resnet_deploy.quant.insertion import quantize_weight, representable_scale

_NUM_STEPS = 300
_BATCH = 32
_FACTOR_RATE, _SCALE_RATE, _BIAS_RATE = 0.01, 0.005, 1e-4  # of Adam: per step, about that much of a logarithm
_LARGEST_FACTOR = 16.0
_PARTS = 2  # of a batch, computed at a time
_QMAX = 127
_DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


class Equalized(NamedTuple):
    """An FP32 network that computes what it did, and its rounded form that is nearer to it.

    Attributes:
        factors: [num_classes] of the channel classes of `original`.
        scales: Of the activations that are rounded, by tensor.
    """

    original: onnx.ModelProto
    quantized: onnx.ModelProto
    factors: np.ndarray
    scales: dict[str, float]


def equalize(
    original: onnx.ModelProto,
    quantized: onnx.ModelProto,
    images: np.ndarray,
    *,
    float_precision: Precision,
    progress: Progress = NO_PROGRESS,
) -> Equalized:
    """Learn channel factors, activation scales and biases. Nodes and names stay; where nothing is gained, all stays.

    Args:
        original: FP32.
        quantized: What `insert_qdq` made of it; its floats are FP32.
        images: [N, 3, H, W] float32, preprocessed.
        float_precision: What scales have to be values of.
    Raises:
        GraphError: An operator that can not be run in PyTorch here; lists them.
    Source: factors that ReLU lets pass: Nagel et al., arXiv:1906.04721, section 4.1; learning scales through the
        rounding: Esser et al., arXiv:1902.08153.
    """
    learner = _Learner(original, quantized, float_precision)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums are the same on every machine then
    try:
        with ThreadPoolExecutor(min(_PARTS, os.cpu_count() or 1)) as pool:
            runner = _Runner(pool, TorchGraph(original), images)
            start = runner.loss(TorchGraph(quantized))
            runner.learn(learner, progress)
            learnt = learner.written()
            return learnt if runner.loss(TorchGraph(learnt.quantized)) < start else learner.unchanged()
    finally:
        torch.set_num_threads(before)


class _Layer(NamedTuple):
    """A layer with its numbers before any scaling; `rounded` is None where it stays in float."""

    scaled: ScaledLayer
    weight: Tensor
    bias: Tensor | None
    rounded: RoundedWeight | None


class _Learner:
    """The rounded network as a function of logarithms of factors and scales, and of changes of biases."""

    def __init__(self, original: onnx.ModelProto, quantized: onnx.ModelProto, float_precision: Precision) -> None:
        self._original, self._quantized = original, quantized
        self._float_precision, self._dtype = float_precision, _DTYPES[float_precision]
        self.graph = TorchGraph(quantized)
        self._classes: ChannelClasses = find_channel_classes(original)
        self._activations: list[RoundedActivation] = [
            one for one in find_rounded_activations(quantized.graph, any_zero_point=True) if PIXELS not in one.tensors
        ]
        rounded = {one.node: one for one in find_rounded_weights(quantized.graph)}
        index = GraphIndex(original.graph)
        self._layers = [
            _Layer(
                layer,
                torch.tensor(index.constant(layer.weight)),
                torch.tensor(index.constant(layer.bias)) if layer.bias else None,
                rounded.get(layer.node),
            )
            for layer in self._classes.layers
        ]
        self.log_factors = torch.zeros(self._classes.num_classes - 1, requires_grad=True)
        self.log_scales = torch.tensor([math.log(one.value) for one in self._activations], requires_grad=True)
        self.bias_changes = [
            torch.zeros_like(layer.bias).requires_grad_(True) for layer in self._layers if layer.bias is not None
        ]

    def constants(self) -> dict[str, Tensor]:
        """What takes the place of tensors of the graph, by name, with gradients."""
        factors = torch.cat([torch.ones(1), self.log_factors.exp()])
        found: dict[str, Tensor] = {}
        changes = iter(self.bias_changes)
        for scaled, weight, bias, rounded in self._layers:
            values = weight * scaled.weight_factors(factors, weight.dim())
            if rounded is None:
                found[scaled.weight] = values
            else:
                found[rounded.dequantized] = self._rounded(values, rounded.axis)
            if bias is not None:
                found[scaled.bias] = (bias + next(changes)) * factors[scaled.rows].reshape(bias.shape)
        for one, scale in zip(self._activations, self.log_scales.exp(), strict=True):
            stored = scale + (stored_scale(scale, self._dtype) - scale).detach()
            found |= dict.fromkeys(one.scales, stored)
        return found

    def _rounded(self, weight: Tensor, axis: int) -> Tensor:
        """As the file will round it; its scales have the gradient of the largest weight, so steps that grow are seen."""
        steps = weight.transpose(0, axis).flatten(1).abs().amax(1) / _QMAX
        scale = weight_scale(weight, axis, self._dtype) + (steps - steps.detach())
        shape = [-1 if place == axis else 1 for place in range(weight.dim())]
        return fake_quantize(weight, scale.reshape(shape), low=-_QMAX, high=_QMAX)

    @torch.no_grad()
    def limit(self) -> None:
        """Keep the factors where FP16 has room for the values."""
        self.log_factors.clamp_(-math.log(_LARGEST_FACTOR), math.log(_LARGEST_FACTOR))

    @torch.no_grad()
    def written(self) -> Equalized:
        """The graphs with the numbers of this moment; weights are rounded as `insert_qdq` rounds them."""
        factors = np.concatenate([[1.0], np.exp(self.log_factors.numpy().astype(np.float64))])
        original = scale_channels(self._original, self._classes, factors)
        scaled = GraphIndex(original.graph)
        found: dict[str, np.ndarray] = {}
        changes = iter(self.bias_changes)
        for layer, _, bias, rounded in self._layers:
            weight = scaled.constant(layer.weight)
            if rounded is None:
                found[layer.weight] = weight
            else:
                found[rounded.values], found[rounded.scale] = quantize_weight(
                    weight, axis=rounded.axis, float_precision=self._float_precision, name=layer.weight
                )
            if bias is not None:
                change = next(changes).numpy() * factors[layer.rows].reshape(bias.shape)
                found[layer.bias] = (scaled.constant(layer.bias) + change).astype(np.float32)
        scales = {}
        for one, log_scale in zip(self._activations, self.log_scales.tolist(), strict=True):
            value = representable_scale(np.float32(math.exp(log_scale)), self._float_precision)
            found |= dict.fromkeys(one.scales, value)
            scales |= dict.fromkeys(one.tensors, float(value))
        return Equalized(original, _with_constants(self._quantized, found), factors, scales)

    def unchanged(self) -> Equalized:
        """The graphs as they were given."""
        scales = {tensor: one.value for one in self._activations for tensor in one.tensors}
        return Equalized(self._original, self._quantized, np.ones(self._classes.num_classes), scales)


def _with_constants(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for initializer in result.graph.initializer:
        if initializer.name in constants:
            values = constants[initializer.name].reshape(tuple(initializer.dims))
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return result


class _Runner:
    """Batches through graphs, in parts that are computed side by side; their number is fixed, so sums are too."""

    def __init__(self, pool: ThreadPoolExecutor, reference: TorchGraph, images: np.ndarray) -> None:
        self._pool = pool
        self._images = torch.from_numpy(images)
        self._name = reference.input_names[0]
        with torch.no_grad():
            self._wanted = [self._logits(reference, self._images), self._logits(reference, self._images.flip(3))]

    def loss(self, graph: TorchGraph) -> float:
        """Of all images."""
        with torch.no_grad():
            return float(_loss(self._logits(graph, self._images), self._wanted[0]))

    def learn(self, learner: _Learner, progress: Progress) -> None:
        """Descend; images come in a fixed order, every other batch mirrored."""
        groups = [([learner.log_factors], _FACTOR_RATE), ([learner.log_scales], _SCALE_RATE)]
        groups.append((learner.bias_changes, _BIAS_RATE))
        optimizer = torch.optim.Adam([{"params": values, "lr": rate} for values, rate in groups])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _NUM_STEPS)
        generator = torch.Generator().manual_seed(0)
        progress.start("refine: equalize", _NUM_STEPS)
        for step in range(_NUM_STEPS):
            chosen = torch.randint(len(self._images), (_BATCH,), generator=generator)
            mirrored = step % 2
            images = self._images[chosen].flip(3) if mirrored else self._images[chosen]
            optimizer.zero_grad()
            loss = self._descend(learner, images, self._wanted[mirrored][chosen])
            optimizer.step()
            schedule.step()
            learner.limit()
            progress.advance(note=f"loss {loss:.2e}")

    def _descend(self, learner: _Learner, images: Tensor, wanted: Tensor) -> float:
        """Gradients of the mean loss into the learner's parameters."""
        constants = learner.constants()
        leaves = {name: value.detach().requires_grad_(True) for name, value in constants.items()}

        def of_part(part: tuple[Tensor, Tensor]) -> tuple[float, Sequence[Tensor]]:
            feeds = {self._name: part[0].contiguous(memory_format=torch.channels_last)} | leaves
            loss = _loss(learner.graph.run(feeds)[0], part[1]) * (len(part[0]) / len(images))
            return float(loss.detach()), torch.autograd.grad(loss, list(leaves.values()))

        parts = list(zip(images.chunk(_PARTS), wanted.chunk(_PARTS), strict=True))
        losses, gradients = zip(*self._pool.map(of_part, parts), strict=True)
        summed = [sum(of_parts[1:], start=of_parts[0]) for of_parts in zip(*gradients, strict=True)]
        torch.autograd.backward(list(constants.values()), summed)
        return sum(losses)

    def _logits(self, graph: TorchGraph, images: Tensor) -> Tensor:
        def of_part(part: Tensor) -> Tensor:
            with torch.no_grad():
                return graph.run({self._name: part.contiguous(memory_format=torch.channels_last)})[0].flatten(1)

        return torch.cat(list(self._pool.map(of_part, images.split(_BATCH // _PARTS))))


_Loss = Callable[[Tensor, Tensor], Tensor]


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of logits, without what is the same for all classes, over their mean square."""
    error = logits.flatten(1) - wanted
    error = error - error.mean(dim=1, keepdim=True)
    return error.square().mean()
