"""Which tensors of two related graphs are the same thing: a network and its FP16, INT8 or damaged form.

All files of a chain keep the names of the FP32 network's tensors, as do the usual converters. A layer is a computing
node of the reference with the ReLU behind it, which every backend fuses; nodes that only move or convert values belong
to the layer that reads them.
"""

from __future__ import annotations

__all__ = ["Correspondence", "Layer", "find_layers"]

from dataclasses import dataclass

import onnx
from onnx import TensorProto

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.blocks import group_by_block
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.types import element_types

_MOVES = {
    "Cast", "Concat", "Constant", "DequantizeLinear", "Dropout", "Flatten", "Identity", "Pad", "QuantizeLinear",
    "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
_FUSED = ("BatchNormalization", "Relu", "Clip", "Cast")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_LOWEST = -128


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer of the reference and where its result is in the candidate.

    Attributes:
        node, op_type: The reference's computing node.
        block: "stem", "layer1.0" ..., "fc"; see `graph.blocks`.
        tensor: Name of the result in the reference.
        counterpart: Name of the same in the candidate.
        shift: The candidate's values are so much smaller, and its ReLU is the saturation of the QuantizeLinear that
            reads them: how unsigned ReLU outputs are written, see `quant.zero_points`; else 0.
    """

    node: str
    op_type: str
    block: str
    tensor: str
    counterpart: str
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Correspondence:
    """All layers that both graphs have.

    Attributes:
        layers: In the reference's order.
        missing: Nodes of the reference whose result the candidate does not hold as a tensor of its own.
    """

    layers: tuple[Layer, ...]
    missing: tuple[str, ...]


def find_layers(reference: onnx.ModelProto, candidate: onnx.ModelProto) -> Correspondence:
    """Pair the layers of two graphs by the names of their tensors.

    Raises:
        GraphError: The last layer, or every layer but that, has no counterpart: these are not forms of one network.
    """
    index, other = GraphIndex(reference.graph), GraphIndex(candidate.graph)
    outputs = {value.name for value in reference.graph.output}
    floats = [
        {name for name, kind in element_types(model).items() if kind in _FLOATS} for model in (reference, candidate)
    ]
    found: list[tuple[onnx.NodeProto, str, str, float]] = []
    missing = []
    for node in reference.graph.node:
        if node.op_type in _MOVES or _is_taken(node, index, outputs):
            continue
        tensor = _result(node, index, outputs)
        if tensor not in floats[0]:
            continue
        counterpart, shift = _counterpart(tensor, other)
        if counterpart in floats[1]:
            found.append((node, tensor, counterpart, shift))
        else:
            missing.append(_name(node))
    if any(shift for *_, shift in found):
        # such a graph also shifts, by other biases, what is added or pooled before it is rounded again
        moved = [item for item in found if item[0].op_type in ("Conv", "MaxPool") and item[1] == item[0].output[0]]
        missing += [_name(node) for node, *_ in moved]
        found = [item for item in found if item not in moved]
    if len(found) < 2 or not any(tensor in outputs for _, tensor, _, _ in found):
        raise GraphError(
            f"the two graphs share {len(found)} of {len(found) + len(missing)} layer results by name"
            + (f"; missing in the candidate: {', '.join(missing[:4])}" if missing else ""),
            remedy="give two forms of one network: the ONNX file and what was converted or quantised from it",
        )
    blocks = group_by_block(reference, [_name(node) for node, *_ in found])
    block_of = {member: block for block, members in blocks.items() for member in members}
    layers = tuple(
        Layer(
            node=_name(node),
            op_type=node.op_type,
            block=block_of[_name(node)],
            tensor=tensor,
            counterpart=counterpart,
            shift=shift,
        )
        for node, tensor, counterpart, shift in found
    )
    return Correspondence(layers=layers, missing=tuple(missing))


def _name(node: onnx.NodeProto) -> str:
    return node.name or f"node_of_{node.output[0]}"


def _is_taken(node: onnx.NodeProto, index: GraphIndex, outputs: set[str]) -> bool:
    """Whether the node belongs to the layer whose result it reads."""
    if node.op_type not in _FUSED:
        return False
    before = index.producer(node.input[0])
    return before is not None and before.op_type not in _MOVES and _only_reader(before, index, outputs) is not None


def _only_reader(node: onnx.NodeProto, index: GraphIndex, outputs: set[str]) -> onnx.NodeProto | None:
    readers = index.readers[node.output[0]]
    if len(readers) != 1 or readers[0].position != 0 or node.output[0] in outputs:
        return None
    return readers[0].node if readers[0].node.op_type in _FUSED else None


def _result(node: onnx.NodeProto, index: GraphIndex, outputs: set[str]) -> str:
    while (behind := _only_reader(node, index, outputs)) is not None:
        node = behind
    return node.output[0]


def _counterpart(tensor: str, candidate: GraphIndex) -> tuple[str, float]:
    """Name and shift of the candidate's tensor; "" where it has none."""
    if tensor in candidate.producers:
        return tensor, 0.0
    quantize = candidate.producer(f"{tensor}.int8", "QuantizeLinear")
    if quantize is None or not candidate.is_constant(quantize.input[1]):
        return "", 0.0
    return quantize.input[0], -_LOWEST * float(candidate.constant(quantize.input[1]))
