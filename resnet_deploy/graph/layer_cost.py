"""What the layers of an ONNX graph cost: multiply-adds, additions and values moved, counted on the graph."""

from __future__ import annotations

__all__ = ["LayerCost", "layer_cost", "multiply_adds", "shape_of", "tensor_shapes"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One node at batch 1.

    Attributes:
        multiply_adds: Of Conv and Gemm, bias not counted; 0 for the others.
        additions: Of Add: one per value of its result; 0 for the others.
        num_activations: Values read and written that are no constants. Of an Add one addend is left out: it stays on
            the chip where the addition is fused with the convolution that makes it.
        num_weights: Values of its constants.
    """

    multiply_adds: int
    additions: int
    num_activations: int
    num_weights: int

    @property
    def num_bytes_int8(self) -> int:
        """Bytes that move where all values take one byte."""
        return self.num_activations + self.num_weights


def layer_cost(model: onnx.ModelProto) -> dict[str, LayerCost]:
    """Count every Conv, Gemm, Add and pool of a graph for one image.

    Returns:
        By node name, in the graph's order.
    Raises:
        GraphError: A shape is not known, or an axis other than the batch is dynamic; names the tensor.
    """
    shapes = tensor_shapes(model)
    graph = GraphIndex(model.graph)
    costs = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool"):
            continue
        names = [name for name in node.input if name]
        constants = [name for name in names if graph.is_constant(name)]
        moved = [name for name in (*names, *node.output) if name not in constants]
        if node.op_type == "Add" and len(moved) == 3:
            moved = moved[1:]
        costs[node.name] = LayerCost(
            multiply_adds=multiply_adds(node, shapes),
            additions=math.prod(shape_of(shapes, node.output[0], node)) if node.op_type == "Add" else 0,
            num_activations=sum(math.prod(shape_of(shapes, name, node)) for name in moved),
            num_weights=sum(math.prod(shape_of(shapes, name, node)) for name in constants),
        )
    return costs


def tensor_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes at batch 1 of all tensors and constants; 0 stands for a size that is not known."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for tensor in one.graph.input:
        if tensor.type.tensor_type.shape.dim:
            tensor.type.tensor_type.shape.dim[0].ClearField("dim_param")
            tensor.type.tensor_type.shape.dim[0].dim_value = 1
    del one.graph.value_info[:]
    for tensor in one.graph.output:  # the declared batch may be another
        tensor.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(one, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in one.graph.initializer}
    for tensor in (*inferred.input, *inferred.value_info, *inferred.output):
        shapes[tensor.name] = [dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
    return shapes


def shape_of(shapes: Mapping[str, list[int]], name: str, node: onnx.NodeProto) -> list[int]:
    """The shape of a tensor that `node` uses; raises GraphError where it is not known."""
    shape = shapes.get(name)
    if shape is None or any(size < 1 for size in shape):
        raise GraphError(
            f"the shape of {name!r}, which node {node.name!r} uses, is {shape or 'not known'}",
            remedy="export the network with a fixed image size",
        )
    return shape


def multiply_adds(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> int:
    """Of a Conv, Gemm or MatMul by the direct algorithm, bias not counted; 0 for every other node."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    out = math.prod(shape_of(shapes, node.output[0], node))
    if node.op_type == "MatMul":
        return out * shape_of(shapes, node.input[0], node)[-1]
    weight = shape_of(shapes, node.input[1], node)
    return out * math.prod(weight) // _output_channels(node, weight)


def _output_channels(node: onnx.NodeProto, weight: list[int]) -> int:
    """Entries of the axis of `weight` that the result keeps: every other one is summed over."""
    if node.op_type == "Conv":
        return weight[0]
    return weight[0] if any(a.name == "transB" and a.i for a in node.attribute) else weight[1]
