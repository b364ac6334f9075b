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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
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
_BATCH_PIXELS, _SMALLEST_BATCH = 2**15, 4  # 32 images of 32 px, 4 of 224 px
_PIXELS_TO_COMPARE = 2**22  # start and end are compared on as many: 4096 images of 32 px, 83 of 224 px
_FACTOR_RATE, _SCALE_RATE = 0.01, 0.005  # of Adam: a step changes a logarithm by about that much
_BIAS_RATE = 2.5e-4  # in means of a layer's |bias|
_LARGEST_FACTOR = 16.0
_PARTS = 2  # of a batch, computed side by side
_SHIFT = 8  # an image is moved by up to its size over this
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
            descent = _Descent(pool, TorchGraph(original), images)
            descent.run(learner, progress)
            learnt = learner.written()
            progress.start("refine: compare with the start", None)
            is_better = descent.loss(TorchGraph(learnt.quantized)) < descent.loss(TorchGraph(quantized))
            return learnt if is_better else learner.unchanged()
    finally:
        torch.set_num_threads(before)


class _Layer(NamedTuple):
    """A layer with its numbers before any scaling; `rounded` is None where it stays in float."""

    scaled: ScaledLayer
    weight: Tensor
    bias: Tensor | None
    rounded: RoundedWeight | None

    def changed_bias(self, change: Tensor) -> Tensor:
        return self.bias + change * self.bias.abs().mean()


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
        for layer in self._layers:
            values = layer.weight * layer.scaled.weight_factors(factors, layer.weight.dim())
            if layer.rounded is None:
                found[layer.scaled.weight] = values
            else:
                found[layer.rounded.dequantized] = self._rounded(values, layer.rounded.axis)
            if layer.bias is not None:
                bias = layer.changed_bias(next(changes))
                found[layer.scaled.bias] = bias * factors[layer.scaled.rows].reshape(bias.shape)
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
        for layer in self._layers:
            name, rounded = layer.scaled.weight, layer.rounded
            if rounded is None:
                found[name] = scaled.constant(name)
            else:
                found[rounded.values], found[rounded.scale] = quantize_weight(
                    scaled.constant(name), axis=rounded.axis, float_precision=self._float_precision, name=name
                )
            if layer.bias is not None:
                bias = layer.changed_bias(next(changes)).numpy()
                found[layer.scaled.bias] = (bias * factors[layer.scaled.rows].reshape(bias.shape)).astype(np.float32)
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


class _Descent:
    """Batches in parts that are computed side by side; how many parts is fixed, so sums are the same everywhere."""

    def __init__(self, pool: ThreadPoolExecutor, reference: TorchGraph, images: np.ndarray) -> None:
        self._pool, self._reference, self._images = pool, reference, torch.from_numpy(images)
        self._name = reference.input_names[0]
        self._pixels = images.shape[2] * images.shape[3]

    def loss(self, graph: TorchGraph) -> float:
        """Of the images as they are."""
        images = self._images[: max(_SMALLEST_BATCH, _PIXELS_TO_COMPARE // self._pixels)]
        batch = max(_SMALLEST_BATCH, _BATCH_PIXELS // self._pixels)

        def of_part(part: Tensor) -> float:
            with torch.no_grad():
                return float(_loss(self._run(graph, part, {}), self._run(self._reference, part, {}))) * len(part)

        return sum(self._pool.map(of_part, images.split(batch))) / len(images)

    def run(self, learner: _Learner, progress: Progress) -> None:
        """Descend, on images that are mirrored and moved, always by the same chance."""
        groups = [([learner.log_factors], _FACTOR_RATE), ([learner.log_scales], _SCALE_RATE)]
        groups.append((learner.bias_changes, _BIAS_RATE))
        optimizer = torch.optim.Adam([{"params": values, "lr": rate} for values, rate in groups])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _NUM_STEPS)
        generator = torch.Generator().manual_seed(0)
        batch = max(_SMALLEST_BATCH, _BATCH_PIXELS // self._pixels)
        progress.start("refine: equalize", _NUM_STEPS)
        for _ in range(_NUM_STEPS):
            chosen = torch.randint(len(self._images), (batch,), generator=generator)
            optimizer.zero_grad()
            loss = self._descend(learner, _moved(self._images[chosen], generator))
            optimizer.step()
            schedule.step()
            learner.limit()
            progress.advance(note=f"rms error {math.sqrt(loss):.3f}")

    def _descend(self, learner: _Learner, images: Tensor) -> float:
        """Gradients of the mean loss into the learner's parameters."""
        constants = learner.constants()
        leaves = {name: value.detach().requires_grad_(True) for name, value in constants.items()}

        def of_part(part: Tensor) -> tuple[float, Sequence[Tensor]]:
            with torch.no_grad():
                wanted = self._run(self._reference, part, {})
            loss = _loss(self._run(learner.graph, part, leaves), wanted) * (len(part) / len(images))
            return float(loss.detach()), torch.autograd.grad(loss, list(leaves.values()))

        losses, gradients = zip(*self._pool.map(of_part, images.chunk(_PARTS)), strict=True)
        summed = [sum(of_parts[1:], start=of_parts[0]) for of_parts in zip(*gradients, strict=True)]
        torch.autograd.backward(list(constants.values()), summed)
        return sum(losses)

    def _run(self, graph: TorchGraph, images: Tensor, constants: dict[str, Tensor]) -> Tensor:
        feeds = {self._name: images.contiguous(memory_format=torch.channels_last)}
        return graph.run(feeds | constants)[0].flatten(1)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every other image mirrored, each moved a little; what comes in at the edges is 0, the mean colour."""
    height, width = images.shape[2:]
    down, right = height // _SHIFT, width // _SHIFT
    padded = F.pad(images, (right, right, down, down))
    views = []
    for place, image in enumerate(padded):
        top = int(torch.randint(2 * down + 1, (), generator=generator))
        left = int(torch.randint(2 * right + 1, (), generator=generator))
        view = image[:, top : top + height, left : left + width]
        views.append(view.flip(2) if place % 2 else view)
    return torch.stack(views)


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of logits [N, K], without what is the same for all classes."""
    error = logits - wanted
    return (error - error.mean(dim=1, keepdim=True)).square().mean()
