"""From operations to layers: what TensorRT runs as one kernel, where it does all that its documents promise.

Rules (TensorRT developer guide, "Types of layer fusion" and "Explicit quantization"):

1. Convolution or matrix product + BN + bias + ReLU + change of type are one layer.
2. A residual addition, with what follows it, joins the convolution that makes one addend; the other is read.
3. A pool is a layer. The global average pool writes what the classifier reads.
4. A change of type at the input of the network is a layer of its own.
5. A tensor between two layers is stored in the narrowest type on its way: INT8 between a Q and its DQ.
6. A convolution reads the values that its windows touch: a quarter, where it is 1 x 1 with stride 2.
7. Slices, padding and reshapes cost nothing, and a reader of a slice reads only that. TensorRT copies for some of
   them; a lower bound must not count on it.
"""

from __future__ import annotations

__all__ = ["FusedLayer", "Tensor", "as_tensorrt_rtx", "fuse", "in_precision"]

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from resnet_deploy.bench.roofline.operations import NUM_BYTES, Operation, OperationGraph, Value, Weight
from resnet_deploy.core.specs import Precision

_STORED = {
    Precision.FP32: "float32",
    Precision.FP16: "float16",
    Precision.BF16: "bfloat16",
    Precision.INT8: "int8",
    Precision.FP8: "float8",
}
_EIGHT_BITS = ("int8", "uint8", "float8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """What a layer reads or writes.

    Attributes:
        made_by: Name of the layer that writes it, or of the network's input.
        value: Values and type in which it is stored, for one image.
    """

    made_by: str
    value: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedLayer:
    """One kernel.

    Attributes:
        name: Of its first operation. `stage`: "stem", "layer1" ..., "head".
        kind: "conv", "conv+add", "linear", "pool", "pointwise", "add", "other"; "round" for a kernel that only turns
            sums into INT8.
        type: In which it multiplies, or its result's where it does not.
        multiply_adds: For one image.
        sums: Values it computes for one image.
        reads: Without the residual.
    """

    name: str
    stage: str
    kind: str
    type: str
    multiply_adds: int
    sums: int
    reads: tuple[Tensor, ...]
    residual: Tensor | None
    weights: tuple[Weight, ...]
    writes: tuple[Tensor, ...]


def fuse(graph: OperationGraph) -> tuple[FusedLayer, ...]:
    """Group the operations of a network into layers, in the order of the graph."""
    return _Fuser(graph).layers()


def in_precision(layers: tuple[FusedLayer, ...], precision: Precision) -> tuple[FusedLayer, ...]:
    """FP32 layers of a network as they are where all of it runs in `precision`.

    The images come in FP32, and a first layer changes their type; the logits are written in FP32. Biases of an INT8
    or FP8 network are FP16.
    """
    if precision is Precision.FP32:
        return layers
    stored = _STORED[precision]
    bias = "float16" if precision in (Precision.INT8, Precision.FP8) else stored
    made = {layer.name for layer in layers}
    images = next(t for layer in layers for t in layer.reads if t.made_by not in made)
    typed = Value(elements=images.value.elements, type=stored)
    convert = FusedLayer(
        name="images", stage="stem", kind="pointwise", type=stored, multiply_adds=0, sums=typed.elements,
        reads=(images,), residual=None, weights=(), writes=(Tensor(made_by="images", value=typed),),
    )  # fmt: skip
    result = [convert]
    for index, layer in enumerate(layers):
        writes = layer.writes if index == len(layers) - 1 else tuple(_retyped(t, stored) for t in layer.writes)
        result.append(
            replace(
                layer,
                type=stored,
                reads=tuple(_retyped(t, stored) for t in layer.reads),
                residual=None if layer.residual is None else _retyped(layer.residual, stored),
                weights=tuple(replace(w, type=bias if w.is_bias else stored) for w in layer.weights),
                writes=writes,
            )
        )
    return tuple(result)


def as_tensorrt_rtx(layers: tuple[FusedLayer, ...]) -> tuple[FusedLayer, ...]:
    """The kernels that TensorRT-RTX 1.7 makes of an INT8 or FP8 network with weight scales per channel.

    A convolution of eight bits writes its sums in FP32; a second kernel multiplies by the scales, adds bias and
    residual, applies the ReLU and rounds. A matrix product writes FP16. FP16 and FP32 layers are as `fuse` has them.

    Source: read from its engines, docs/reference/tensorrt-rtx-fusion.md.
    """
    result = []
    for layer in layers:
        if layer.type not in _EIGHT_BITS or layer.kind not in ("conv", "conv+add", "linear"):
            result.append(layer)
            continue
        sums = Tensor(
            made_by=layer.name,
            value=Value(elements=layer.sums, type="float16" if layer.kind == "linear" else "float32"),
        )
        biases = tuple(w for w in layer.weights if w.is_bias)
        weights = tuple(w for w in layer.weights if not w.is_bias)
        kind = "conv" if layer.kind == "conv+add" else layer.kind
        result.append(replace(layer, kind=kind, residual=None, weights=weights, writes=(sums,)))
        result.append(
            replace(
                layer, name=f"{layer.name}:round", kind="round", multiply_adds=0, reads=(sums,), weights=biases,
                type=layer.writes[0].value.type if layer.writes else layer.type,
            )
        )  # fmt: skip
    return tuple(result)


def _retyped(tensor: Tensor, stored: str) -> Tensor:
    return replace(tensor, value=replace(tensor.value, type=stored))


@dataclass(slots=True)
class _Open:
    """A layer that more operations may join."""

    first: Operation
    kind: str
    weights: list[Weight]
    sums: int
    reads: list[Tensor] = field(default_factory=list)
    residual: Tensor | None = None
    types: dict[str, int] = field(default_factory=dict)  # type in which the result is stored -> values

    @property
    def name(self) -> str:
        return self.first.name


@dataclass(frozen=True, slots=True)
class _Flow:
    """A tensor as it goes from the layer that makes it to those that read it.

    `elements` and `type` are the fewest and the narrowest on the way; `is_own`: nobody else reads any of it, so that
    what follows may join the layer; `is_bare`: its type was not changed.
    """

    layer: _Open | None
    source: str
    value: Value
    is_own: bool
    is_bare: bool = True

    def tensor(self) -> Tensor:
        return Tensor(made_by=self.source, value=self.value)


class _Fuser:
    def __init__(self, graph: OperationGraph) -> None:
        self.graph = graph
        self.readers = Counter(name for op in graph.operations for name in op.inputs)
        self.readers.update(graph.outputs.keys())
        self.opened: list[_Open] = []
        self.flows = {name: self._flow(None, name, value, name) for name, value in graph.inputs.items()}

    def layers(self) -> tuple[FusedLayer, ...]:
        for operation in self.graph.operations:
            self.flows[operation.output] = self._place(operation)
        for name, value in self.graph.outputs.items():
            if (flow := self.flows[name]).layer is not None:
                flow.layer.types[value.type] = value.elements
        stage_of = _stages([layer.name for layer in self.opened])
        return tuple(self._closed(layer, stage_of[layer.name]) for layer in self.opened)

    def _place(self, op: Operation) -> _Flow:
        flows = [self.flows[name] for name in op.inputs]
        first = flows[0]
        if op.kind == "view":
            return self._passed_on(first, op, fewest=True)
        if op.kind == "retype" and first.layer is not None:
            return self._passed_on(first, op, fewest=False)
        if op.kind == "pointwise" and first.layer is not None and first.is_own:
            first.layer.weights += op.weights
            return self._flow(first.layer, first.layer.name, op.value, op.output)
        if op.kind == "add" and (joined := _fused_addend(flows)) is not None:
            joined.layer.residual = self._read(next(flow for flow in flows if flow is not joined))
            joined.layer.kind = "conv+add"
            return self._flow(joined.layer, joined.layer.name, op.value, op.output)
        kind = "pointwise" if op.kind == "retype" else op.kind
        layer = _Open(first=op, kind=kind, weights=list(op.weights), sums=op.value.elements)
        layer.reads = list(dict.fromkeys(self._read(flow) for flow in flows))
        if op.num_read is not None:
            needed = min(op.num_read, layer.reads[0].value.elements)
            layer.reads[0] = replace(layer.reads[0], value=replace(layer.reads[0].value, elements=needed))
        self.opened.append(layer)
        return self._flow(layer, op.name, op.value, op.output)

    def _passed_on(self, flow: _Flow, op: Operation, *, fewest: bool) -> _Flow:
        narrower = NUM_BYTES[op.value.type] < NUM_BYTES[flow.value.type]
        value = Value(
            elements=min(flow.value.elements, op.value.elements) if fewest else flow.value.elements,
            type=op.value.type if narrower else flow.value.type,
        )
        return replace(
            flow,
            value=value,
            is_own=flow.is_own and self.readers[op.output] == 1,
            is_bare=flow.is_bare and op.kind != "retype",
        )

    def _read(self, flow: _Flow) -> Tensor:
        """Note that the tensor has to be stored in that type. A slice is stored whole."""
        if flow.layer is not None:
            flow.layer.types.setdefault(flow.value.type, 0)
        return flow.tensor()

    def _flow(self, layer: _Open | None, source: str, value: Value, output: str) -> _Flow:
        if layer is not None:
            layer.sums = value.elements
        return _Flow(layer=layer, source=source, value=value, is_own=self.readers[output] == 1)

    def _closed(self, layer: _Open, stage: str) -> FusedLayer:
        writes = tuple(
            Tensor(made_by=layer.name, value=Value(elements=elements or layer.sums, type=type_))
            for type_, elements in layer.types.items()
        )
        return FusedLayer(
            name=layer.name,
            stage=stage,
            kind=layer.kind,
            type=_type_of(layer, writes),
            multiply_adds=layer.first.multiply_adds,
            sums=layer.sums,
            reads=tuple(layer.reads),
            residual=layer.residual,
            weights=tuple(layer.weights),
            writes=writes,
        )


def _fused_addend(flows: list[_Flow]) -> _Flow | None:
    """The addend whose convolution takes the addition in: unread by others, and no pair of Q and DQ in between."""
    able = [f for f in flows if f.layer is not None and f.layer.kind == "conv" and f.is_own and f.is_bare]
    return able[0] if able and len({f.source for f in flows}) == 2 else None


def _type_of(layer: _Open, writes: tuple[Tensor, ...]) -> str:
    """Eight bits where activation and weight both are; else the type that the graph computes the product in."""
    if layer.kind in ("conv", "conv+add", "linear") and layer.reads:
        factors = {layer.reads[0].value.type, next(w.type for w in layer.weights if not w.is_bias)}
        if factors <= {"int8", "uint8"}:
            return "int8"
        return "float8" if factors == {"float8"} else layer.first.value.type
    return writes[0].value.type if writes else layer.first.value.type


def _stages(names: list[str]) -> dict[str, str]:
    """Layer -> "layer3", where its name says so; before the first of these "stem", after the last "head"."""
    found = [re.search(r"layer\d+|features\.\d+", name) for name in names]
    places = [index for index, match in enumerate(found) if match]
    result = {}
    for index, (name, match) in enumerate(zip(names, found, strict=True)):
        if match:
            result[name] = match.group()
        else:
            result[name] = "stem" if places and index < places[0] else "head"
    return result
