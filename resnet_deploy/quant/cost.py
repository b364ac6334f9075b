"""What a layer costs: operations and bytes, counted on the graph, and what it costs more outside of int8."""

from __future__ import annotations

__all__ = ["COST_UNITS", "LayerCost", "float_costs", "layer_cost", "read_latencies"]

import json
import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import shape_inference

from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.graph.index import GraphIndex

COST_UNITS = {
    "multiply-adds": "share of the multiply-adds",
    "roofline": "share of the time that INT8 saves, by roofline",
    "latency": "share of the time that INT8 saves, measured",
}
"""Name of a cost -> what a share of it means."""

# NVIDIA T4, data sheet: 130 INT8 TOP/s, 65 FP16 TFLOP/s (dense), 320 GB/s. Two operations a multiply-add. Only ratios
# matter for a choice of layers, and INT8 : FP16 is 2 : 1 on every data-centre GPU of NVIDIA's up to Hopper.
_INT8_OPS_PER_US = 130.3e6
_FP16_OPS_PER_US = 65.1e6
_BYTES_PER_US = 320e3


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

    def roofline_us(self, *, is_int8: bool) -> float:
        """The larger of arithmetic and memory time in microseconds, at the figures above."""
        operations = 2 * self.multiply_adds + self.additions
        peak = _INT8_OPS_PER_US if is_int8 else _FP16_OPS_PER_US
        num_bytes = self.num_bytes_int8 * (1 if is_int8 else 2)
        return max(operations / peak, num_bytes / _BYTES_PER_US)


def layer_cost(model: onnx.ModelProto) -> dict[str, LayerCost]:
    """Count every Conv, Gemm, Add and pool of a graph for one image.

    Returns:
        By node name, in the graph's order.
    Raises:
        GraphError: A shape is not known, or an axis other than the batch is dynamic; names the tensor.
    """
    shapes = _shapes(model)
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
        out = math.prod(_shape(shapes, node.output[0], node))
        products = 0
        if node.op_type in ("Conv", "Gemm"):
            weight = _shape(shapes, node.input[1], node)
            products = out * math.prod(weight) // _output_channels(node, weight)
        costs[node.name] = LayerCost(
            multiply_adds=products,
            additions=out if node.op_type == "Add" else 0,
            num_activations=sum(math.prod(_shape(shapes, name, node)) for name in moved),
            num_weights=sum(math.prod(_shape(shapes, name, node)) for name in constants),
        )
    return costs


def float_costs(
    costs: dict[str, LayerCost], unit: str, *, latencies: dict[str, tuple[float, float]] | None = None
) -> dict[str, float]:
    """What every node costs more outside of int8, as a share of what all together do: 0 is all int8, 1 all float.

    Args:
        unit: A key of `COST_UNITS`. "multiply-adds" counts an addition as one operation, half a multiply-add, so
            that a residual addition is cheap but not free.
        latencies: For "latency": node -> microseconds in int8 and in float; a node that is missing counts nothing.
    Raises:
        ConfigError: Unknown unit, or latencies in which float is nowhere slower.
    """
    if unit == "multiply-adds":
        extra = {name: cost.multiply_adds + cost.additions / 2 for name, cost in costs.items()}
    elif unit == "roofline":
        extra = {n: cost.roofline_us(is_int8=False) - cost.roofline_us(is_int8=True) for n, cost in costs.items()}
    elif unit == "latency" and latencies is not None:
        pairs = {name: latencies.get(name, (0.0, 0.0)) for name in costs}
        extra = {name: max(0.0, in_float - in_int8) for name, (in_int8, in_float) in pairs.items()}
    else:
        raise ConfigError(f"unknown cost {unit!r}", remedy=f"known: {', '.join(COST_UNITS)}")
    total = sum(extra.values())
    if not total > 0:
        raise ConfigError(
            f"cost {unit!r}: no layer is slower in float than in int8, so there is nothing to spare",
            remedy="check that the measurements name this network's nodes, or take --cost multiply-adds",
        )
    return {name: value / total for name, value in extra.items()}


def read_latencies(path: Path) -> dict[str, tuple[float, float]]:
    """Measured times: a JSON object, node name -> {"int8_us": number, "float_us": number}.

    Raises:
        ConfigError: The file is missing or of another form; says where.
    """
    form = 'a JSON object such as {"layer1.0.conv1": {"int8_us": 4.1, "float_us": 7.0}}'
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", remedy=f"--cost takes {', '.join(COST_UNITS)} or {form}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not a JSON file: {error}", remedy=f"write {form}") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{path} holds a {type(plain).__name__}", remedy=f"write {form}")
    result = {}
    for name, times in plain.items():
        pair = (times.get("int8_us"), times.get("float_us")) if isinstance(times, dict) else (None, None)
        if not all(isinstance(t, (int, float)) and not isinstance(t, bool) and 0 <= t < math.inf for t in pair):
            raise ConfigError(f"{path}: {name!r} has {times!r}", remedy=f"write {form}")
        result[name] = (float(pair[0]), float(pair[1]))
    return result


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes at batch 1 of all tensors and constants."""
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


def _shape(shapes: dict[str, list[int]], name: str, node: onnx.NodeProto) -> list[int]:
    shape = shapes.get(name)
    if shape is None or any(size < 1 for size in shape):
        raise GraphError(
            f"the shape of {name!r}, which node {node.name!r} uses, is {shape or 'not known'}",
            remedy="export the network with a fixed image size",
        )
    return shape


def _output_channels(node: onnx.NodeProto, weight: list[int]) -> int:
    """Entries of the axis of `weight` that the result keeps: every other one is summed over."""
    if node.op_type == "Conv":
        return weight[0]
    return weight[0] if any(a.name == "transB" and a.i for a in node.attribute) else weight[1]
