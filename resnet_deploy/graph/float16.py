"""FP32 graph -> strongly typed graph in a float of 16 bits, FP16 or BF16, that keeps its FP32 input and output.

Written here, not taken from a converter library, because precision is a property of our graphs: no operator
is left in FP32 by a hidden block list, weights are never clamped, and Q/DQ pairs keep their meaning.
"""

from __future__ import annotations

__all__ = ["BF16_OPSET", "bf16_from_fp32", "fp16_from_fp32"]

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.index import GraphIndex

BF16_OPSET = 22
"""The first in which Conv and the pools take BF16; between 20 and 22 their meaning did not change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Half:
    """A float of 16 bits."""

    precision: Precision
    dtype: np.dtype
    onnx_type: int
    largest: float
    remedy: str


_FP16 = _Half(
    precision=Precision.FP16,
    dtype=np.dtype(np.float16),
    onnx_type=TensorProto.FLOAT16,
    largest=float(np.finfo(np.float16).max),
    remedy="take BF16, which has FP32's range; or keep this network in FP32, or train it with weight decay",
)
_BF16 = _Half(
    precision=Precision.BF16,
    dtype=np.dtype(ml_dtypes.bfloat16),
    onnx_type=TensorProto.BFLOAT16,
    largest=float(ml_dtypes.finfo(ml_dtypes.bfloat16).max),
    remedy="keep this network in FP32, or train it with weight decay",
)
_SUPPORTED = {
    "Add", "AveragePool", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Elu", "Flatten", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad",
    "QuantizeLinear", "Relu", "Reshape", "Sigmoid", "Slice", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators whose float inputs and outputs all have one type, so that changing the initializers changes it."""

_ENTRANCE = ("Add", "Mul", "Pad")

_AVERAGING = {"Concat", "Exp", "Flatten", "Log", "LogSoftmax", "ReduceMax", "ReduceMean", "Reshape", "Sub", "Sum"}
"""Operators of the mean of softmax, which stays FP32: it costs nothing beside the network, and in FP16 the
probability of a class that is 2^24 times less likely than another is zero."""


def fp16_from_fp32(model: onnx.ModelProto, *, wide: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of `model` that computes in FP16 between a cast at its entry and one at its exit.

    Where the graph averages softmax (ensembles, ten-crop), the exit is before the first LogSoftmax.

    An input that only a QuantizeLinear reads, be it through padding, scaling and shifting, gets no cast: the pair
    itself is one (scale FP32 on the way in, FP16 on the way out), which spares a kernel and a rounding before the
    quantisation.

    Args:
        wide: Names of nodes that stay FP32, with all that is joined to them up to the Q/DQ pairs around, which are
            the casts.
    Raises:
        GraphError: An initializer is NaN, infinite or beyond FP16's range (names it), the graph holds an operator
            that this pass does not know, or no pairs stand between `wide` and the graph's input or output.
    """
    return _narrowed(model, _FP16, wide)


def bf16_from_fp32(model: onnx.ModelProto, *, wide: Collection[str] = ()) -> onnx.ModelProto:
    """Like `fp16_from_fp32`, in BF16: FP32's range with 8 bits of mantissa; the copy is of BF16_OPSET or newer.

    Raises:
        GraphError: As there; and where the model's opset can not be raised.
    """
    opset = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is not None and opset.version < BF16_OPSET:
        try:
            model = version_converter.convert_version(model, BF16_OPSET)
        except Exception as error:  # the converter raises RuntimeError and types of its own
            raise GraphError(
                f"BF16 needs opset {BF16_OPSET}, the graph has {opset.version} and can not be converted: {error}",
                remedy="export it again, or take fp16",
            ) from error
    return _narrowed(model, _BF16, wide)


def _narrowed(model: onnx.ModelProto, half: _Half, wide_nodes: Collection[str]) -> onnx.ModelProto:
    averaging = _averaging_nodes(model.graph)
    _refuse_unknown(model.graph, averaging, half)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    wide = _keep_regions_in_fp32(graph, wide_nodes)
    entrances = {tensor.name: _entrance(graph, tensor.name) for tensor in graph.input}
    wide |= {name for entrance in entrances.values() for node in entrance.nodes for name in node.input}
    for initializer in graph.initializer:
        if initializer.data_type == TensorProto.FLOAT and initializer.name not in wide:
            initializer.CopyFrom(numpy_helper.from_array(_as_half(initializer, half), initializer.name))
    entry = [node for name, entrance in entrances.items() for node in _enter(graph, name, entrance, half)]
    producers = GraphIndex(graph).producers
    leave = [
        _leave(graph, tensor.name, half) for tensor in graph.output if producers[tensor.name].name not in averaging
    ]
    nodes = [*entry, *_widened(graph, averaging), *leave]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # they name the old types; shape inference finds the new ones
    _drop_unread(graph)
    return result


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Constants of which only the FP32 copy is read."""
    read = {name for node in graph.node for name in node.input}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in read:
            del graph.initializer[place]


def _refuse_unknown(graph: onnx.GraphProto, averaging: set[str], half: _Half) -> None:
    unknown: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type not in (_AVERAGING if node.name in averaging else _SUPPORTED):
            unknown.setdefault(node.op_type, []).append(node.name)
    if not unknown:
        return
    said = (f"{op} ({len(names)}, first {names[0]!r})" for op, names in sorted(unknown.items()))
    raise GraphError(
        f"the {str(half.precision).upper()} pass does not know: {', '.join(said)}",
        remedy=f"keep the network's floats in FP32, in `quantize` with --float fp32; the pass knows {', '.join(sorted(_SUPPORTED))}",
    )


def _as_half(initializer: onnx.TensorProto, half: _Half) -> np.ndarray:
    values = numpy_helper.to_array(initializer)
    if not np.isfinite(values).all():
        raise GraphError(f"initializer {initializer.name!r} holds NaN or infinity")
    with np.errstate(over="ignore"):
        halves = values.astype(half.dtype)
    if not np.isfinite(halves.astype(np.float32)).all():
        raise GraphError(
            f"initializer {initializer.name!r} reaches {np.abs(values).max():.6g}, "
            f"beyond {str(half.precision).upper()}'s {half.largest:g}",
            remedy=half.remedy,
        )
    return halves


class _Entrance(NamedTuple):
    """What lies between an input and the QuantizeLinear nodes that alone read it in the end."""

    nodes: tuple[onnx.NodeProto, ...]
    quantizers: tuple[onnx.NodeProto, ...]


def _entrance(graph: onnx.GraphProto, name: str) -> _Entrance:
    """Empty, unless one chain of padding, scaling and shifting leads from the input to QuantizeLinear."""
    index, nodes = GraphIndex(graph), []
    while True:
        readers = [reader.node for reader in index.readers[name]]
        if readers and all(reader.op_type == "QuantizeLinear" for reader in readers):
            return _Entrance(tuple(nodes), tuple(readers))
        others = [other for reader in readers for other in reader.input if other and other != name]
        if len(readers) != 1 or readers[0].op_type not in _ENTRANCE or not all(map(index.is_constant, others)):
            return _Entrance((), ())
        nodes.append(readers[0])
        name = readers[0].output[0]


def _enter(graph: onnx.GraphProto, name: str, entrance: _Entrance, half: _Half) -> list[onnx.NodeProto]:
    if entrance.quantizers:
        for node in entrance.quantizers:
            _keep_scale_in_fp32(graph, node)
        return []
    inside = f"{name}.{half.precision}"
    for reader in GraphIndex(graph).readers[name]:
        reader.node.input[reader.position] = inside
    return [helper.make_node("Cast", [name], [inside], name=f"{name}.cast", to=half.onnx_type)]


def _keep_scale_in_fp32(graph: onnx.GraphProto, quantize: onnx.NodeProto) -> None:
    scale = GraphIndex(graph).constant(quantize.input[1])
    if scale.dtype == np.float32:
        return
    scale, name = scale.astype(np.float32), f"{quantize.input[1]}.fp32"
    graph.initializer.append(numpy_helper.from_array(scale, name))
    quantize.input[1] = name


def _keep_regions_in_fp32(graph: onnx.GraphProto, nodes: Collection[str]) -> set[str]:
    """Let `nodes`, and all that a float tensor joins to them, read copies of their constants; gives the copies' names."""
    index = GraphIndex(graph)
    inputs = {tensor.name for tensor in graph.input}
    outputs = {tensor.name for tensor in graph.output}
    waiting = [node for node in graph.node if node.name in nodes]
    region: dict[str, onnx.NodeProto] = {}
    while waiting:
        node = waiting.pop()
        if node.name in region:
            continue
        region[node.name] = node
        before = {"QuantizeLinear": node.input[:1], "DequantizeLinear": ()}.get(node.op_type, node.input)
        after = () if node.op_type == "QuantizeLinear" else node.output
        if touched := sorted((inputs & set(before)) | (outputs & set(after))):
            raise GraphError(f"node {node.name!r} shall stay FP32, but no Q/DQ pair is between it and {touched[0]!r}")
        waiting += [maker for name in before if (maker := index.producer(name)) is not None]
        waiting += [reader.node for name in after for reader in index.readers[name]]
    copies: set[str] = set()
    for node in region.values():
        for position, name in enumerate(node.input):
            if not index.is_constant(name) or index.initializer(name).data_type != TensorProto.FLOAT:
                continue
            node.input[position] = copy = f"{name}.wide"
            if copy not in copies:
                graph.initializer.append(numpy_helper.from_array(index.constant(name), copy))
                copies.add(copy)
    return copies


def _averaging_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that are, or come after, a LogSoftmax."""
    names: set[str] = set()
    made: set[str] = set()
    for node in graph.node:
        if node.op_type == "LogSoftmax" or made.intersection(node.input):
            names.add(node.name)
            made.update(node.output)
    return names


def _widened(graph: onnx.GraphProto, averaging: set[str]) -> list[onnx.NodeProto]:
    """The nodes, with a cast to FP32 before the first of `averaging`."""
    half = {name for node in graph.node if node.name not in averaging for name in node.output}
    nodes = []
    for node in graph.node:
        for position, name in enumerate(node.input) if node.name in averaging else ():
            if name in half:
                wide = f"{name}.fp32"
                nodes.append(helper.make_node("Cast", [name], [wide], name=f"{name}.cast", to=TensorProto.FLOAT))
                node.input[position] = wide
        nodes.append(node)
    return nodes


def _leave(graph: onnx.GraphProto, name: str, half: _Half) -> onnx.NodeProto:
    inside = f"{name}.{half.precision}"
    index = GraphIndex(graph)
    producer = index.producers[name]
    producer.output[list(producer.output).index(name)] = inside
    for reader in index.readers[name]:
        reader.node.input[reader.position] = inside
    return helper.make_node("Cast", [inside], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
