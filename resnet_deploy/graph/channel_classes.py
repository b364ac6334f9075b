"""Which channels of a network can be multiplied by positive numbers, and which of them only by the same one.

A layer's output channel times f, and what the next layer multiplies it with divided by f, is the same network:
ReLU, pooling and moves of values let positive factors pass. An addition passes a factor that both sides have, so
all channels that meet in one stage's additions are one class. Such a factor changes what rounding does: a tensor
that is rounded with one scale has steps that suit all its channels only if they are of one size.
"""

from __future__ import annotations

__all__ = ["ChannelClasses", "ScaledLayer", "find_channel_classes", "scale_channels"]

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from resnet_deploy.graph.index import GraphIndex, attribute_of

_FIXED = 0


class ScaledLayer(NamedTuple):
    """A Conv or Gemm whose weight and bias are its own constants.

    Attributes:
        node: Its name.
        weight, bias: Names of the constants; no bias is "".
        rows: [K] class of each output channel.
        columns: [1, C] class of each input channel; [K, C] where a row has its own inputs (groups).
        axis: Of the weight, along which the output channels lie.
    """

    node: str
    weight: str
    bias: str
    rows: np.ndarray
    columns: np.ndarray
    axis: int

    def weight_factors(self, factors: Any, num_axes: int) -> Any:
        """What the weight, of `num_axes` axes, is multiplied with; broadcasts to its shape.

        Args:
            factors: [num_classes], an array or a tensor.
        """
        rows_by_columns = factors[self.rows][:, None] / factors[self.columns]
        both = rows_by_columns if self.axis == 0 else rows_by_columns.T
        return both.reshape((*both.shape, *[1] * (num_axes - 2)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelClasses:
    """Channels that have to be multiplied by the same factor are of one class; class 0 has to stay as it is.

    Classes are numbered by the first layer that makes them, so two graphs with the same layers have the same numbers,
    whatever is in front of the first layer.

    Attributes:
        num_classes: With class 0.
        layers: In the graph's order. What other layers read and make is of class 0.
    """

    num_classes: int
    layers: tuple[ScaledLayer, ...]


def find_channel_classes(model: onnx.ModelProto) -> ChannelClasses:
    """The classes of an FP32 graph.

    Class 0: the graph's inputs and outputs, and all that an operator reads or makes which does not let a factor pass
    (or is not known here), such as an addition of a constant or a ReLU6.
    """
    finder = _Finder(model)
    for node in model.graph.node:
        finder.visit(node)
    for tensor in model.graph.output:
        finder.fix(tensor.name)
    return finder.found()


def scale_channels(model: onnx.ModelProto, classes: ChannelClasses, factors: np.ndarray) -> onnx.ModelProto:
    """A copy of `model` that computes the same with scaled channels: other numbers in weights and biases alone.

    Args:
        classes: Of `model`.
        factors: [num_classes], positive and finite; that of class 0 is 1.
    Raises:
        ValueError: Other factors.
    """
    factors = np.asarray(factors, dtype=np.float64)
    if factors.shape != (classes.num_classes,) or factors[_FIXED] != 1:
        raise ValueError(f"factors of shape {factors.shape}, expected {classes.num_classes} and the first of them 1")
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise ValueError(f"factors from {factors.min()} to {factors.max()}, expected positive finite ones")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = GraphIndex(result.graph)
    for layer in classes.layers:
        weight = graph.constant(layer.weight)
        _multiply(graph.initializer(layer.weight), layer.weight_factors(factors, weight.ndim))
        if layer.bias:
            shape = graph.constant(layer.bias).shape
            _multiply(graph.initializer(layer.bias), factors[layer.rows].reshape(shape))
    return result


def _multiply(initializer: onnx.TensorProto, factors: np.ndarray) -> None:
    values = numpy_helper.to_array(initializer)
    product = (values.astype(np.float64) * factors).astype(values.dtype)
    initializer.CopyFrom(numpy_helper.from_array(product, initializer.name))


class _Finder:
    """Goes through the graph once; a tensor without an entry in `_channels` is of class 0 throughout."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = GraphIndex(model.graph)
        self._shapes = _shapes_of(model)
        self._channels: dict[str, np.ndarray] = {}
        self._parents = [_FIXED]  # of union-find; the smallest number of a class is its root
        self._layers: list[ScaledLayer] = []

    def visit(self, node: onnx.NodeProto) -> None:
        rule = _RULES.get(node.op_type)
        channels = rule(self, node) if rule is not None else None
        if channels is None:
            for name in node.input:
                self.fix(name)
        else:
            self._channels[node.output[0]] = channels

    def fix(self, tensor: str) -> None:
        for number in self._channels.get(tensor, ()):
            self._unite(number, _FIXED)

    def found(self) -> ChannelClasses:
        roots = np.array([self._root(number) for number in range(len(self._parents))])
        made = np.concatenate([[_FIXED], *(roots[layer.rows] for layer in self._layers)]).astype(np.int64)
        numbers = {int(root): place for place, root in enumerate(dict.fromkeys(made.tolist()))}
        renumber = np.array([numbers.get(int(root), _FIXED) for root in roots])  # zero channels that no layer makes
        layers = (layer._replace(rows=renumber[layer.rows], columns=renumber[layer.columns]) for layer in self._layers)
        return ChannelClasses(num_classes=len(numbers), layers=tuple(layers))

    def _new(self, count: int) -> np.ndarray:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _unite(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._parents[high] = low

    def _constant(self, node: onnx.NodeProto, position: int) -> np.ndarray | None:
        name = node.input[position] if len(node.input) > position else ""
        return self._graph.constant(name) if name and self._graph.is_constant(name) else None

    def _is_own(self, name: str) -> bool:
        return self._graph.is_constant(name) and len(self._graph.readers[name]) == 1

    def same(self, node: onnx.NodeProto) -> np.ndarray | None:
        return self._channels.get(node.input[0])

    def layer(self, node: onnx.NodeProto) -> np.ndarray | None:
        """A Conv or Gemm makes new classes; it reads any."""
        bias = node.input[2] if len(node.input) > 2 else ""
        if not self._is_own(node.input[1]) or (bias and not self._is_own(bias)) or attribute_of(node, "transA", 0):
            return None
        weight = self._graph.constant(node.input[1])
        axis = 1 if node.op_type == "Gemm" and not attribute_of(node, "transB", 0) else 0
        num_rows, num_columns = weight.shape[axis], weight.shape[1 - axis]
        if bias and self._graph.constant(bias).size != num_rows:
            return None
        groups = attribute_of(node, "group", 1)
        read = self._channels.get(node.input[0], np.full(groups * num_columns, _FIXED))
        if len(read) != groups * num_columns:
            return None
        columns = read.reshape(groups, num_columns).repeat(num_rows // groups if groups > 1 else 1, axis=0)
        rows = self._new(num_rows)
        self._layers.append(ScaledLayer(node.name, node.input[1], bias, rows, columns, axis))
        return rows

    def add(self, node: onnx.NodeProto) -> np.ndarray | None:
        """Channel by channel the same factor on all sides; sides of one shape but for batch, height and width."""
        sides = [self._channels.get(name) for name in node.input]
        ranks = {self._rank(name) for name in node.input}
        if any(side is None or len(side) != len(sides[0]) for side in sides) or len(ranks) > 1 or None in ranks:
            return None
        for side in sides[1:]:
            for one, other in zip(sides[0], side, strict=True):
                self._unite(int(one), int(other))
        return sides[0]

    def concat(self, node: onnx.NodeProto) -> np.ndarray | None:
        sides = [self._channels.get(name) for name in node.input]
        rank = self._rank(node.input[0])
        if any(side is None for side in sides) or rank is None or attribute_of(node, "axis", 0) % rank != 1:
            return None
        return np.concatenate(sides)

    def pad(self, node: onnx.NodeProto) -> np.ndarray | None:
        """Zeros beside the channels are new classes: 0 times any factor is 0."""
        channels, pads = self.same(node), self._constant(node, 1)
        has_value = len(node.input) > 2 and node.input[2] != ""
        value, has_axes = self._constant(node, 2), len(node.input) > 3 and node.input[3] != ""
        is_zero = not has_value or (value is not None and not value.any())
        axes = self._constant(node, 3) if has_axes else np.arange(len(pads) // 2) if pads is not None else None
        is_constant = attribute_of(node, "mode", b"constant") == b"constant" and is_zero
        if channels is None or pads is None or axes is None or not is_constant or (axes < 0).any() or (pads < 0).any():
            return None
        before, after = (dict(zip(axes.tolist(), half.tolist(), strict=True)).get(1, 0) for half in np.split(pads, 2))
        return np.concatenate([self._new(before), channels, self._new(after)])

    def slice(self, node: onnx.NodeProto) -> np.ndarray | None:
        given = [self._constant(node, position) for position in range(1, len(node.input))]
        channels = self.same(node)
        if channels is None or any(values is None for values in given) or len(given) < 2:
            return None
        starts, ends, axes, steps = (*given, *[None] * (4 - len(given)))
        axes = np.arange(len(starts)) if axes is None else axes
        if (axes < 0).any():
            return None
        for place, axis in enumerate(axes.tolist()):
            if axis == 1:
                channels = channels[int(starts[place]) : int(ends[place]) : 1 if steps is None else int(steps[place])]
        return channels

    def clip(self, node: onnx.NodeProto) -> np.ndarray | None:
        """One without an upper limit, and 0 or none below."""
        low, high = self._constant(node, 1), self._constant(node, 2)
        has = [len(node.input) > position and node.input[position] != "" for position in (1, 2)]
        is_open = not has[1] or (high is not None and np.isposinf(high).all())
        at_zero = not has[0] or (low is not None and (np.isneginf(low).all() or not low.any()))
        return self.same(node) if is_open and at_zero and not node.attribute else None

    def reduce(self, node: onnx.NodeProto) -> np.ndarray | None:
        """A mean over positions."""
        axes = attribute_of(node, "axes", None) if len(node.input) < 2 else self._constant(node, 1)
        rank = self._rank(node.input[0])
        if axes is None or rank is None or not {int(axis) % rank for axis in axes}.isdisjoint((0, 1)):
            return None
        return self.same(node)

    def flatten(self, node: onnx.NodeProto) -> np.ndarray | None:
        """[N, C, H, W] -> [N, C H W]: the positions of a channel follow each other."""
        if node.op_type == "Flatten":
            keeps_batch = attribute_of(node, "axis", 1) == 1
        else:
            wanted = self._constant(node, 1)
            keeps_batch = wanted is not None and len(wanted) == 2 and wanted[0] in (0, -1)
            keeps_batch = keeps_batch and not attribute_of(node, "allowzero", 0)
        channels, shape = self.same(node), self._shapes.get(node.input[0])
        if not keeps_batch or channels is None or shape is None or None in shape[1:]:
            return None
        flat = channels.repeat(math.prod(shape[2:]))
        if node.op_type == "Reshape" and wanted[1] not in (-1, len(flat)):
            return None
        return flat

    def _rank(self, tensor: str) -> int | None:
        shape = self._shapes.get(tensor)
        return None if shape is None else len(shape)


def _shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Of the tensors whose shape is known; an axis without a fixed size is None."""
    graph = shape_inference.infer_shapes(model).graph
    known = [
        tensor for tensor in (*graph.input, *graph.value_info, *graph.output) if tensor.type.HasField("tensor_type")
    ]
    return {
        tensor.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.type.tensor_type.shape.dim)
        for tensor in known
        if tensor.type.tensor_type.HasField("shape")
    }


_RULES: Mapping[str, Callable[[_Finder, onnx.NodeProto], np.ndarray | None]] = {
    "Add": _Finder.add,
    "AveragePool": _Finder.same,
    "Cast": _Finder.same,
    "Clip": _Finder.clip,
    "Concat": _Finder.concat,
    "Conv": _Finder.layer,
    "Flatten": _Finder.flatten,
    "Gemm": _Finder.layer,
    "GlobalAveragePool": _Finder.same,
    "Identity": _Finder.same,
    "MaxPool": _Finder.same,
    "Pad": _Finder.pad,
    "ReduceMean": _Finder.reduce,
    "Relu": _Finder.same,
    "Reshape": _Finder.flatten,
    "Slice": _Finder.slice,
    "Sub": _Finder.add,
    "Sum": _Finder.add,
}
"""By operator: the classes of its result, or None where no factor passes."""
