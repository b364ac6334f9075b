"""Where Q/DQ pairs go in a residual network, by TensorRT's rules; each rule says what it takes and what it refuses.

A rule looks at one node (`check`) and answers with the reads that shall be quantised, with a refusal, or with
None where the node is not its business. Nothing is edited here: `quant.insertion` does that with all rules'
answers together, so that reads of one tensor share one pair.

Source: NVIDIA TensorRT documentation, "Working with quantized types", sections on explicit quantisation and
Q/DQ placement; NVIDIA Model Optimizer for the side of a downsampling block's addition.
"""

from __future__ import annotations

__all__ = ["RULES", "Placement", "QuantizedRead", "Refusal", "Rule", "WeightUse", "find_placement"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import onnx

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex, attribute_of


class QuantizedRead(NamedTuple):
    """Input `position` of `node` reads `tensor` through a Q/DQ pair whose scale is that of `scale_of`."""

    node: str
    position: int
    tensor: str
    scale_of: str
    rule: str


class WeightUse(NamedTuple):
    """Input `position` of `node` is the constant `weight`, int8 with one scale per slice along `axis`."""

    node: str
    position: int
    weight: str
    axis: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """What a rule would have quantised, and why it does not."""

    node: str
    tensor: str
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """All rules' answers for one graph."""

    reads: tuple[QuantizedRead, ...]
    weights: tuple[WeightUse, ...]
    refusals: tuple[Refusal, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors whose scales are needed, in the graph's order."""
        return tuple(dict.fromkeys(read.scale_of for read in self.reads))


class Rule(Protocol):
    """One reason to quantise something."""

    name: str

    def check(
        self, graph: GraphIndex, node: onnx.NodeProto
    ) -> Refusal | Iterable[QuantizedRead | WeightUse] | None: ...


class MatrixProductRule:
    """Conv and Gemm: the activation through a per-tensor pair, the weight as int8 with a scale per output channel.

    The bias stays in floating point; so does the result, which gets a pair where the next layer reads it.
    """

    name = "matrix product"

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Refusal | Iterable[QuantizedRead | WeightUse] | None:
        if node.op_type not in ("Conv", "Gemm"):
            return None
        data, weight = node.input[0], node.input[1]
        if not graph.is_constant(weight):
            return Refusal(node=node.name, tensor=weight, rule=self.name, reason="the weight is not a constant")
        if attribute_of(node, "transA", 0) or attribute_of(node, "alpha", 1.0) != 1.0:
            return Refusal(node=node.name, tensor=data, rule=self.name, reason="Gemm with transA or alpha")
        axis = 0 if node.op_type == "Conv" or attribute_of(node, "transB", 0) else 1
        return (
            QuantizedRead(node.name, 0, data, data, self.name),
            WeightUse(node.name, 1, weight, axis),
        )


class ResidualAddRule:
    """Residual addition: only the shortcut side goes through a pair.

    TensorRT fuses the last convolution of the block with the addition if that edge is bare and the other
    addend is int8. Which side is the shortcut: the one with fewer convolutions between the addition and the
    tensor where both sides part. That is no convolution in an identity block (the pair is the one that the
    block's first convolution reads), and the projection in a downsampling block (a pair on its output).

    Option A's shortcut (slices, then zero channels) only moves values and adds zeros, which symmetric
    quantisation represents exactly. So it reads the block's shared pair, and a second pair of the same scale
    stands before the addition: it changes no value, and shows TensorRT an int8 addend.
    """

    name = "residual addition"

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Refusal | Iterable[QuantizedRead] | None:
        if node.op_type != "Add" or any(graph.is_constant(name) for name in node.input):
            return None
        chains = [_chain(graph, name) for name in node.input]
        common = next((step.tensor for step in chains[0] if any(step.tensor == s.tensor for s in chains[1])), None)
        if common is None:
            return self._refusal(node, node.input[0], "its two inputs do not come from one tensor")
        convs = [sum(s.via_conv for s in chain[: _place(chain, common)]) for chain in chains]
        if convs[0] == convs[1]:
            return self._refusal(node, common, f"both sides have {convs[0]} convolutions, none is the shortcut")
        side = int(np.argmin(convs))
        shortcut = node.input[side]
        if convs[side]:
            return (QuantizedRead(node.name, side, shortcut, shortcut, self.name),)
        steps = chains[side][: _place(chains[side], common)]
        if not steps:
            return (QuantizedRead(node.name, side, common, common, self.name),)
        if any(step.made_by.op_type not in ("Slice", "Pad") or not _pads_zero(graph, step.made_by) for step in steps):
            return self._refusal(node, shortcut, f"{steps[0].made_by.op_type} in the shortcut may change values")
        first = steps[-1].made_by
        return (
            QuantizedRead(first.name, 0, common, common, self.name),
            QuantizedRead(node.name, side, shortcut, common, self.name),
        )

    def _refusal(self, node: onnx.NodeProto, tensor: str, reason: str) -> Refusal:
        return Refusal(node=node.name, tensor=tensor, rule=self.name, reason=reason)


class MaxPoolRule:
    """Max-pool: a pair before it with the scale of the pair behind it, so that the pooling runs in int8.

    Rounding and clipping keep the order of values, so max(quantised) = quantised(max): no value changes.
    """

    name = "max-pool"

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Iterable[QuantizedRead] | None:
        if node.op_type != "MaxPool":
            return None
        return (QuantizedRead(node.name, 0, node.input[0], node.output[0], self.name),)


class AveragePoolRule:
    """Global average pool: its input goes through a pair; TensorRT fuses DQ, pool and the Q of the classifier."""

    name = "average pool"

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Iterable[QuantizedRead] | None:
        if node.op_type != "GlobalAveragePool":
            return None
        return (QuantizedRead(node.name, 0, node.input[0], node.input[0], self.name),)


RULES: tuple[Rule, ...] = (MatrixProductRule(), ResidualAddRule(), MaxPoolRule(), AveragePoolRule())


def find_placement(
    model: onnx.ModelProto,
    *,
    exclude: tuple[str, ...] = (),
    keep_float_tensors: tuple[str, ...] = (),
    rules: tuple[Rule, ...] = RULES,
) -> Placement:
    """Ask every rule about every node.

    Args:
        exclude: Names of nodes that stay in floating point.
        keep_float_tensors: Names of tensors that are never rounded: every node that would read one through a pair
            stays in floating point.
        rules: INT8's, or those of another type.
    Raises:
        GraphError: `exclude` names a node that is not there or that no rule would quantise, `keep_float_tensors` a tensor that no rule would
            quantise, the graph holds Q/DQ already, or no rule applies.
    """
    graph = GraphIndex(model.graph)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise GraphError("the graph is quantised already", remedy="give the FP32 file")
    reads, weights, refusals = [], [], []
    readable: dict[str, None] = {}
    answered: dict[str, None] = {}
    for node in model.graph.node:
        for rule in rules:
            answer = rule.check(graph, node)
            if answer is None:
                continue
            answered[node.name] = None
            if isinstance(answer, Refusal):
                refusals.append(answer)
                continue
            own_reads = [item for item in answer if isinstance(item, QuantizedRead)]
            readable |= dict.fromkeys(read.scale_of for read in own_reads)
            kept = next((read.scale_of for read in own_reads if read.scale_of in keep_float_tensors), None)
            if node.name in exclude or kept is not None:
                tensor = node.input[0] if kept is None else kept
                reason = "excluded by name" if node.name in exclude else f"tensor {kept!r} is kept in floating point"
                refusals.append(Refusal(node=node.name, tensor=tensor, rule=rule.name, reason=reason))
            else:
                reads += own_reads
                weights += [item for item in answer if isinstance(item, WeightUse)]
    if missing := [name for name in exclude if name not in answered]:
        is_there = any(node.name == missing[0] for node in model.graph.node)
        raise GraphError(
            f"no rule would quantise node {missing[0]!r}, so excluding it has no effect"
            if is_there
            else f"no node is called {missing[0]!r}",
            remedy=f"the nodes that can be excluded: {', '.join(answered)}",
        )
    if missing := [name for name in keep_float_tensors if name not in readable]:
        raise GraphError(
            f"no rule would quantise a tensor called {missing[0]!r}",
            remedy=f"the tensors that can be kept in floating point: {', '.join(readable)}",
        )
    if not weights:
        raise GraphError(
            f"nothing to quantise: {len(refusals)} nodes refused, first {refusals[0].node!r}: {refusals[0].reason}"
            if refusals
            else "nothing to quantise: the graph has no Conv or Gemm"
        )
    return Placement(reads=tuple(reads), weights=tuple(weights), refusals=tuple(refusals))


class _Step(NamedTuple):
    tensor: str
    made_by: onnx.NodeProto | None
    via_conv: bool


def _chain(graph: GraphIndex, tensor: str) -> list[_Step]:
    """The tensor and those it comes from, along first inputs, up to the graph's input."""
    steps = []
    while True:
        node = graph.producer(tensor)
        steps.append(_Step(tensor, node, node is not None and node.op_type == "Conv"))
        if node is None or not node.input:
            return steps
        tensor = node.input[0]


def _place(chain: list[_Step], tensor: str) -> int:
    return next(i for i, step in enumerate(chain) if step.tensor == tensor)


def _pads_zero(graph: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type != "Pad":
        return True
    if attribute_of(node, "mode", b"constant") != b"constant":
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    return graph.is_constant(node.input[2]) and not np.any(graph.constant(node.input[2]))
