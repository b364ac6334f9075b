"""Rewrites what exporters spell in several ways into the operators that the chain's other passes know."""

from __future__ import annotations

__all__ = ["drop_unread", "settle_types", "use_plain_operators"]

from collections.abc import Sequence
from math import prod

import onnx
from onnx import helper

from resnet_deploy.graph.index import GraphIndex, attribute_of

_Shapes = dict[str, tuple[int, ...]]


def use_plain_operators(model: onnx.ModelProto) -> list[str]:
    """Rewrite in place; the values stay the same.

    - The mean over rows and columns (ReduceMean, or AveragePool with a window of the whole area) becomes
      GlobalAveragePool, with a Flatten where it drops them.
    - A Reshape to [N, everything else] becomes Flatten, which holds for every batch size.
    - MatMul of rows with a constant [C, K], and the bias behind it, become Gemm.

    Args:
        model: Its shapes inferred for one batch size.
    Returns:
        What was rewritten, in words, one for each node.
    """
    graph = model.graph
    shapes = _shapes(graph)
    done = []
    for node in list(graph.node):
        index = GraphIndex(graph)
        if node.op_type == "ReduceMean" and _is_mean_of_area(index, node, shapes):
            done.append(f"{node.name}: ReduceMean to GlobalAveragePool")
            _use_global_pool(graph, node)
        elif node.op_type == "AveragePool" and _is_pool_of_area(node, shapes):
            done.append(f"{node.name}: AveragePool to GlobalAveragePool")
            _become(node, "GlobalAveragePool", [node.input[0]])
        elif node.op_type == "Reshape" and _is_flatten(node, shapes):
            done.append(f"{node.name}: Reshape to Flatten")
            _become(node, "Flatten", [node.input[0]], axis=1)
        elif node.op_type == "MatMul" and _is_gemm(index, node, shapes):
            done.append(f"{node.name}: MatMul to Gemm")
            _use_gemm(graph, index, node)
    drop_unread(graph)
    return done


def settle_types(model: onnx.ModelProto) -> None:
    """Turn CastLike, in place, into Cast: the type is known, so what is cast may be a constant.

    Args:
        model: Its types inferred.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            _become(node, "Cast", [node.input[0]], to=types[node.input[1]])


def drop_unread(graph: onnx.GraphProto) -> None:
    """Take out nodes and constants that no output needs."""
    needed = {tensor.name for tensor in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
            needed.update(name for name in node.input if name)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for field in (graph.initializer, graph.value_info):
        for place in reversed(range(len(field))):
            if field[place].name not in needed:
                del field[place]


def _shapes(graph: onnx.GraphProto) -> _Shapes:
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return {name: shape for name, shape in shapes.items() if all(shape)}


def _is_mean_of_area(index: GraphIndex, node: onnx.NodeProto, shapes: _Shapes) -> bool:
    axes = attribute_of(node, "axes", None)
    if len(node.input) > 1 and index.is_constant(node.input[1]):
        axes = index.constant(node.input[1]).tolist()
    return axes is not None and len(shapes.get(node.input[0], ())) == 4 and sorted(a % 4 for a in axes) == [2, 3]


def _is_pool_of_area(node: onnx.NodeProto, shapes: _Shapes) -> bool:
    area = shapes.get(node.input[0], ())[2:]
    pads = any(attribute_of(node, "pads", [])) or attribute_of(node, "auto_pad", b"NOTSET") != b"NOTSET"
    return len(area) == 2 and tuple(attribute_of(node, "kernel_shape", ())) == area and not pads


def _use_global_pool(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    keeps = attribute_of(node, "keepdims", 1)
    _become(node, "GlobalAveragePool", [node.input[0]])
    if keeps:
        return
    result, pooled = node.output[0], f"{node.output[0]}.pooled"
    node.output[0] = pooled
    flatten = helper.make_node("Flatten", [pooled], [result], name=f"{node.name}.flatten", axis=1)
    graph.node.insert(_place(graph, node) + 1, flatten)


def _is_flatten(node: onnx.NodeProto, shapes: _Shapes) -> bool:
    before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    return len(before) > 1 and after == (before[0], prod(before[1:]))


def _is_gemm(index: GraphIndex, node: onnx.NodeProto, shapes: _Shapes) -> bool:
    return (
        len(shapes.get(node.input[0], ())) == 2
        and index.is_constant(node.input[1])
        and len(index.initializer(node.input[1]).dims) == 2
    )


def _use_gemm(graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto) -> None:
    result = node.output[0]
    columns = index.initializer(node.input[1]).dims[1]
    outputs = {tensor.name for tensor in graph.output}
    readers = index.readers[result]
    inputs = [*node.input]
    if len(readers) == 1 and readers[0].node.op_type == "Add" and result not in outputs:
        addition = readers[0].node
        bias = addition.input[1 - readers[0].position]
        if index.is_constant(bias) and list(index.initializer(bias).dims) == [columns]:
            inputs.append(bias)
            result = addition.output[0]
            del graph.node[_place(graph, addition)]
    _become(node, "Gemm", inputs)
    node.output[0] = result


def _place(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    return next(place for place, other in enumerate(graph.node) if other.name == node.name)


def _become(node: onnx.NodeProto, op_type: str, inputs: Sequence[str], **attributes) -> None:
    made = helper.make_node(op_type, list(inputs), list(node.output), name=node.name, **attributes)
    node.CopyFrom(made)
