"""Eight bits for what is never negative: the output of a ReLU as 0..255 in a signed int8, without a zero point.

TensorRT's int8 is signed and symmetric, so a ReLU's output uses 128 of 256 numbers: half the steps, four times the
noise. Rounding activations makes most of INT8's error, so this is its largest single part. What a zero point of -128
would do can be had without one: store x - 128 s in place of x. The layers that make the tensor subtract 128 s in
their bias (then int8's lower end, -128 s, does what the ReLU did, which goes), those that read it add 128 s times the
sum of their weights to theirs. That is exact, and costs nothing, wherever no zeros are put beside the tensor. A
convolution with padding does: its padding has to become -128 s, which is a Pad node of its own.

`find_unsigned` says which tensors can be stored so. `insert_qdq` gives them a zero point of -128, a form in which
refinement works as on any other; `quant.zero_points` makes of that the form without zero points.
"""

from __future__ import annotations

__all__ = ["ZERO_POINT", "UnsignedTensors", "find_unsigned"]

from dataclasses import dataclass

import numpy as np
import onnx

from resnet_deploy.core.specs import UnsignedRelu
from resnet_deploy.graph.index import GraphIndex, attribute_of, name_of
from resnet_deploy.quant.placement import Placement, Refusal

ZERO_POINT = -128
"""The int8 that stands for 0.0 in such a tensor."""

_RULE = "unsigned relu"
_MOVES = ("MaxPool", "Slice", "Pad")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsignedTensors:
    """What `find_unsigned` found.

    Attributes:
        tensors: Names of the tensors (`scale_of` of a placement) that can be stored so, in the graph's order.
        num_pads: Pad nodes that they need.
        refusals: ReLU outputs that stay signed, and why.
    """

    tensors: tuple[str, ...] = ()
    num_pads: int = 0
    refusals: tuple[Refusal, ...] = ()


def find_unsigned(model: onnx.ModelProto, placement: Placement, mode: UnsignedRelu) -> UnsignedTensors:
    """The ReLU outputs of the FP32 `model` that can be shifted down by half their range."""
    if mode is UnsignedRelu.OFF:
        return UnsignedTensors()
    graph = GraphIndex(model.graph)
    tensors, refusals, num_pads = [], [], 0
    first = True
    for name in placement.tensors:
        group = _Group(graph, placement, name)
        if not group.relus:
            continue
        reason = group.refusal()
        may_pad = mode is UnsignedRelu.ALL or (mode is UnsignedRelu.FIRST and first)
        if not reason and group.pads and not may_pad:
            reason = "a padded convolution reads it"
        first = False
        if reason:
            refusals.append(Refusal(node=group.relus[0].name, tensor=name, rule=_RULE, reason=reason))
        else:
            tensors.append(name)
            num_pads += len(group.pads)
    return UnsignedTensors(tensors=tuple(tensors), num_pads=num_pads, refusals=tuple(refusals))


class _Group:
    """All tensors of one scale: a ReLU's output, and what a max-pool or option A's shortcut makes of it.

    Attributes:
        relus: The ReLUs among their makers.
        pads: The tensor and the amounts of every padding that would need a node; complete after `refusal`.
    """

    def __init__(self, graph: GraphIndex, placement: Placement, name: str) -> None:
        self._graph = graph
        self._layers = {use.node for use in placement.weights}
        self._all_reads = {(read.node, read.position) for read in placement.reads}
        self._reads = {(read.node, read.position) for read in placement.reads if read.scale_of == name}
        self._tensors = dict.fromkeys(read.tensor for read in placement.reads if read.scale_of == name)
        makers = [graph.producer(tensor) for tensor in self._tensors]
        self.relus = [node for node in makers if node is not None and node.op_type == "Relu"]
        self.pads: set[tuple[str, tuple[int, ...]]] = set()

    def refusal(self) -> str:
        """Why the tensors can not be shifted; "" if they can."""
        for tensor in self._tensors:
            if reason := self._made_by(tensor) or self._read_by(tensor):
                return reason
        return ""

    def _made_by(self, tensor: str) -> str:
        node = self._graph.producer(tensor)
        if node is not None and node.op_type in _MOVES:
            while node is not None and node.op_type in _MOVES:
                if node.input[0] in self._tensors:
                    return ""
                node = self._graph.producer(node.input[0])
            return f"{name_of(node)} is read in floating point"
        if node is None or node.op_type != "Relu":
            return f"{name_of(node)} makes it, not a ReLU alone"
        if self._is_output(tensor):
            return "it is an output of the network"
        if len(self._graph.readers[node.input[0]]) > 1:
            return f"more than the ReLU reads {node.input[0]!r}"
        before = self._graph.producer(node.input[0])
        if before is None or before.op_type != "Add":
            return self._no_bias(before)
        bare = [name for place, name in enumerate(before.input) if (before.name, place) not in self._all_reads]
        if len(bare) != 1:
            return f"{name_of(before)} does not run in int8"
        return self._no_bias(self._graph.producer(bare[0]))

    def _read_by(self, tensor: str, *, is_dequantized: bool = False) -> str:
        for node, position in self._graph.readers[tensor]:
            if (node.name, position) not in self._reads and not (is_dequantized and node.op_type in _MOVES):
                return f"{name_of(node)} reads it in floating point"
            if reason := self._taken_by(tensor, node, position):
                return reason
        return ""

    def _taken_by(self, tensor: str, node: onnx.NodeProto, position: int) -> str:
        if node.op_type in ("Conv", "Gemm"):
            if attribute_of(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
                return f"{name_of(node)} has automatic padding"
            if any(pads := tuple(attribute_of(node, "pads", ()))):
                self.pads.add((tensor, pads))
            return self._no_bias(node)
        if node.op_type == "Add":
            return self._no_bias(self._graph.producer(node.input[1 - position]))
        if node.op_type not in _MOVES or (node.op_type == "Pad" and not self._pads_with_zero(node)):
            return f"{name_of(node)} reads it"
        moved = node.output[0]
        return "" if moved in self._tensors else self._read_by(moved, is_dequantized=True)

    def _pads_with_zero(self, node: onnx.NodeProto) -> bool:
        value = node.input[2] if len(node.input) > 2 else ""
        return not value or (self._graph.is_constant(value) and not np.any(self._graph.constant(value)))

    def _no_bias(self, node: onnx.NodeProto | None) -> str:
        """Why the bias of `node` can not hold the shift."""
        if node is None or node.op_type not in ("Conv", "Gemm"):
            return f"{name_of(node)} has no bias"
        if node.name not in self._layers:
            return f"{name_of(node)} does not run in int8"
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and (not self._graph.is_constant(bias) or len(self._graph.readers[bias]) > 1):
            return f"the bias of {name_of(node)} is not its own constant"
        return self._not_in_int8_again(node.output[0])

    def _not_in_int8_again(self, tensor: str) -> str:
        """Why what is made of `tensor` is not rounded wherever it is read: around it all stays FP32."""
        if self._is_output(tensor):
            return f"{tensor!r} is an output of the network"
        for node, position in self._graph.readers[tensor]:
            if (node.name, position) in self._all_reads:
                continue
            is_addition = node.op_type == "Add" and (node.name, 1 - position) in self._all_reads
            if not is_addition and node.op_type != "Relu":
                return f"{name_of(node)} reads {tensor!r} in floating point"
            if reason := self._not_in_int8_again(node.output[0]):
                return reason
        return ""

    def _is_output(self, tensor: str) -> bool:
        return any(output.name == tensor for output in self._graph.graph.output)
