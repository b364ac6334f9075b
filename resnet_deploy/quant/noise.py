"""What every rounding does to every decision, to first order: one pass tells which layers are worth keeping in float.

A network decides by the margin between its two largest logits. Rounding a tensor changes the margin by the product
of the rounding error and the margin's gradient there, both known after one forward and one backward pass. That gives
a number per image and source of rounding, so any set of layers can be judged without running the network again.
"""

from __future__ import annotations

__all__ = ["NoiseModel", "NoiseSource", "RunningNoise", "measure_noise"]

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.torch_ops import fake_quantize
from resnet_deploy.quant.insertion import quantize_weight
from resnet_deploy.quant.placement import WeightUse
from resnet_deploy.quant.table import CalibrationTable
from resnet_deploy.quant.units import owned_answers


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseSource:
    """One rounding that vanishes when `node` stays in floating point.

    Attributes:
        tensor: The activation or the weight that is rounded.
        is_weight: Whether it is a weight.
    """

    node: str
    tensor: str
    is_weight: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseModel:
    """First-order effects of rounding on the margins of some images.

    Attributes:
        sources: S of them.
        effects: [S, N] change of the margin, in logits.
        margins: [N] largest logit minus the second.
        top1, top2: [N] classes of these two.
    """

    sources: tuple[NoiseSource, ...]
    effects: np.ndarray
    margins: np.ndarray
    top1: np.ndarray
    top2: np.ndarray

    def variance(self, float_nodes: Collection[str] = ()) -> np.ndarray:
        """[N] variance of the margin where all but `float_nodes` are int8.

        Readers of one tensor see the same rounding error, so their effects add up; errors of different tensors are
        as good as independent, so their squares do.
        """
        return RunningNoise(self, float_nodes).variance

    def flips(self, float_nodes: Collection[str] = ()) -> np.ndarray:
        """[N] probability that the two largest logits change places: the normal tail beyond the margin."""
        return self.tail(self.variance(float_nodes))

    def tail(self, variance: np.ndarray) -> np.ndarray:
        """[N] probability that a normal error of that variance exceeds the margin."""
        sigma = np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
        return torch.special.erfc(torch.from_numpy(self.margins / sigma / np.sqrt(2.0))).numpy() / 2


class RunningNoise:
    """The variance for a set of float nodes that grows, so that a search need not add everything up each time.

    Attributes:
        variance: [N] for the nodes that are in float now.
    """

    def __init__(self, model: NoiseModel, float_nodes: Collection[str] = ()) -> None:
        self._model = model
        self._spared = set(float_nodes)
        self._groups: dict[tuple[str, bool], list[int]] = {}
        self._of_node: dict[str, set[tuple[str, bool]]] = {}
        for row, source in enumerate(model.sources):
            key = (source.tensor, source.is_weight)
            self._groups.setdefault(key, []).append(row)
            self._of_node.setdefault(source.node, set()).add(key)
        self._parts = {key: self._part(key, self._spared) for key in self._groups}
        self.variance = sum(self._parts.values(), start=np.zeros(len(model.margins)))

    def without(self, nodes: Collection[str]) -> np.ndarray:
        """[N] the variance if `nodes` were in float too."""
        spared = self._spared.union(nodes)
        touched = {key for node in nodes for key in self._of_node.get(node, ())}
        change = sum((self._part(key, spared) - self._parts[key] for key in touched), start=0.0)
        return np.maximum(self.variance + change, 0.0)

    def spare(self, nodes: Collection[str]) -> None:
        """Leave `nodes` in float from now on."""
        self.variance = self.without(nodes)
        self._spared.update(nodes)
        for key in {key for node in nodes for key in self._of_node.get(node, ())}:
            self._parts[key] = self._part(key, self._spared)

    def _part(self, key: tuple[str, bool], spared: Collection[str]) -> np.ndarray:
        rows = [row for row in self._groups[key] if self._model.sources[row].node not in spared]
        if not rows:
            return np.zeros(len(self._model.margins))
        return self._model.effects[rows].sum(axis=0, dtype=np.float64) ** 2


def measure_noise(
    model: onnx.ModelProto,
    table: CalibrationTable,
    batches: Iterable[np.ndarray],
    *,
    progress: Progress = NO_PROGRESS,
) -> NoiseModel:
    """Run images through the FP32 graph, forward and backward, once.

    Args:
        batches: Network inputs [N, C, H, W] float32.
        table: Scales of the tensors that are rounded.
    Raises:
        GraphError: The graph has an operator that does not run in PyTorch, or fewer than two outputs.
        CalibrationError: The table lacks a tensor.
    """
    probe = _Probe(model, table)
    progress.start("first-order effect of every rounding", None)
    effects, margins, classes = [], [], []
    for batch in batches:
        effect, margin, two = probe.run(torch.from_numpy(batch))
        effects.append(effect)
        margins.append(margin)
        classes.append(two)
        progress.advance(len(batch))
    top = np.concatenate(classes)
    return NoiseModel(
        sources=probe.sources,
        effects=np.concatenate(effects, axis=1),
        margins=np.concatenate(margins).astype(np.float64),
        top1=top[:, 0],
        top2=top[:, 1],
    )


class _Probe:
    """The graph with a name of its own for every read that may be rounded, and the errors of the weights."""

    def __init__(self, model: onnx.ModelProto, table: CalibrationTable) -> None:
        split = onnx.ModelProto()
        split.CopyFrom(model)
        graph, nodes = GraphIndex(model.graph), {node.name: node for node in split.graph.node}
        self._scales: dict[str, Tensor] = {}  # of the read's own name
        self._weights: list[tuple[onnx.NodeProto, str, Tensor]] = []
        sources, copies = [], []
        for owner, item in owned_answers(model):
            if isinstance(item, WeightUse):
                sources.append(NoiseSource(node=owner, tensor=item.weight, is_weight=True))
                self._weights.append((nodes[item.node], item.weight, _weight_error(graph, item)))
            elif item.tensor == item.scale_of:  # a second pair of the same scale changes nothing
                name = f"{item.tensor} read by {item.node}"
                sources.append(NoiseSource(node=owner, tensor=item.tensor, is_weight=False))
                copies.append(helper.make_node("Identity", [item.tensor], [name], name=name))
                nodes[item.node].input[item.position] = name
                self._scales[name] = torch.tensor(float(np.float32(table.scale(item.scale_of))))
        sources.sort(key=lambda source: source.is_weight)  # the order in which `run` gives effects
        self.sources: tuple[NoiseSource, ...] = tuple(sources)
        _insert_after_producers(split, copies)
        self._graph = TorchGraph(split)
        self._forms = {node.name: TorchGraph(_product_alone(node, split)) for node, _, _ in self._weights}

    def run(self, batch: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Effects [S, N], margins [N] and the two best classes [N, 2]."""
        seen: dict[str, Tensor] = {}

        def keep(name: str):
            def change(value: Tensor) -> Tensor:
                seen[name] = value.view_as(value)  # a node of its own in the gradient's graph
                return seen[name]

            return change

        outputs = [node.output[0] for node, _, _ in self._weights]
        change = {name: keep(name) for name in (*self._scales, *outputs)}
        feeds = {self._graph.input_names[0]: batch.clone().requires_grad_(True)}
        logits = self._graph.run(feeds, change=change)[0].flatten(1)
        if logits.shape[1] < 2:
            raise GraphError(f"the network gives {logits.shape[1]} output, a decision needs at least two classes")
        best = logits.topk(2, dim=1)
        margin = best.values[:, 0] - best.values[:, 1]
        names = list(seen)
        gradients = dict(zip(names, torch.autograd.grad(margin.sum(), [seen[name] for name in names]), strict=True))
        effects = []
        with torch.no_grad():
            for name, scale in self._scales.items():
                effects.append(_inner(gradients[name], fake_quantize(seen[name], scale) - seen[name]))
            for node, weight, error in self._weights:
                form = self._forms[node.name]
                form.constants[weight] = error
                change_of_output = form.run({node.input[0]: seen.get(node.input[0], feeds.get(node.input[0]))})[0]
                effects.append(_inner(gradients[node.output[0]], change_of_output))
        return torch.stack(effects).numpy(), margin.detach().numpy(), best.indices.numpy()


def _weight_error(graph: GraphIndex, use: WeightUse) -> Tensor:
    weight = graph.constant(use.weight)
    rounded = quantize_weight(weight, axis=use.axis, float_precision=Precision.FP32, name=use.weight)
    shape = [-1 if axis == use.axis else 1 for axis in range(weight.ndim)]
    return torch.from_numpy(rounded.values * rounded.scales.reshape(shape) - weight)


def _product_alone(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of this Conv or Gemm without its bias."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.input[2:]
    weight = GraphIndex(model.graph).initializer(node.input[1])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [alone],
        node.name,
        [value(node.input[0], onnx.TensorProto.FLOAT, None)],
        [value(node.output[0], onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    return helper.make_model(graph)


def _insert_after_producers(model: onnx.ModelProto, copies: Sequence[onnx.NodeProto]) -> None:
    by_tensor: dict[str, list[onnx.NodeProto]] = {}
    for copy in copies:
        by_tensor.setdefault(copy.input[0], []).append(copy)
    ordered = [copy for tensor in model.graph.input for copy in by_tensor.get(tensor.name, [])]
    for node in model.graph.node:
        ordered.append(node)
        ordered += [copy for name in node.output for copy in by_tensor.get(name, [])]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(dim=1)
