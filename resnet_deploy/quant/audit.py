"""Says what TensorRT will make of a Q/DQ graph of any tool: which layers run in int8, what fuses, what is in the way.

Nothing is built or run: the graph is read by the rules that TensorRT documents. A layer runs in int8 where its
activation and its weight both come out of a DequantizeLinear; a residual addition is computed inside the
convolution whose result reaches it bare, if the other addend comes out of a pair; max-pool and operators that only
move values commute with Q/DQ of one scale; every other change of type is a conversion of its own.

Source: NVIDIA TensorRT documentation, "Working with quantized types", explicit quantisation; the types and zero
points that are refused were tried with TensorRT-RTX 1.7.
"""

from __future__ import annotations

__all__ = ["audit_model"]

from collections import Counter

import onnx

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.tidy import tidy_graph
from resnet_deploy.quant.audit_layers import LayerInputs, read_layers
from resnet_deploy.quant.audit_pairs import (
    Pair,
    find_doubtful_types,
    find_pairs,
    find_reformats,
    find_strays,
    int8_quantizers,
)
from resnet_deploy.quant.audit_result import Audit, Finding, LayerAudit, PoolAudit
from resnet_deploy.quant.qdq import INTEGER_OPERATORS, QuantizedValue, same_grid, value_of
from resnet_deploy.quant.qdq_flow import POOLS, Flow, dequantized

_FLOAT_INPUT = "its input is read in floating point"


def audit_model(model: onnx.ModelProto, *, float_ok: tuple[str, ...] = ()) -> Audit:
    """Audit a graph; it may be of any exporter and any quantisation tool, or not quantised at all.

    Args:
        float_ok: Names of layers that may stay in floating point though the file quantises one of their inputs.
    Raises:
        GraphError: `float_ok` names no layer of the graph.
    """
    tidy, _ = tidy_graph(model)
    graph = GraphIndex(tidy.graph)
    layers = read_layers(graph)
    names = [layer.node.name for layer in layers]
    if missing := [name for name in float_ok if name not in names]:
        raise GraphError(f"no layer is called {missing[0]!r}", remedy=f"the layers: {', '.join(names) or 'none'}")
    flow = Flow(graph, {layer.node.name for layer in layers if layer.int8_in})
    pairs = find_pairs(graph)
    done = int8_quantizers(flow, pairs)
    pools = [node for node in graph.graph.node if node.op_type in POOLS]
    return Audit(
        precision=_precision(layers),
        layers=tuple(_audit_layer(layer, flow, float_ok) for layer in layers),
        additions=tuple(flow.additions.values()),
        pools=tuple(_audit_pool(node, flow, pairs, done) for node in pools),
        findings=(
            *_find_faults(graph, layers),
            *(finding for layer in layers for finding in layer.findings),
            *find_doubtful_types(pairs),
            *find_strays(flow, pairs),
        ),
        reformats=find_reformats(flow, pairs, done),
    )


def _find_faults(graph: GraphIndex, layers: tuple[LayerInputs, ...]) -> tuple[Finding, ...]:
    """What TensorRT refuses, wherever it is; quantised biases are only doubtful and have a finding of their own."""
    biases = {layer.node.input[2] for layer in layers if len(layer.node.input) > 2}
    found = _integer_operators(graph)
    for node in graph.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] not in biases:
            value = value_of(graph, node)
            for fault in value.faults:
                found.append(Finding(kind="refused", node=node.name, tensor=value.tensor, message=fault))
    return tuple(found)


def _integer_operators(graph: GraphIndex) -> list[Finding]:
    nodes = [node for node in graph.graph.node if node.op_type in INTEGER_OPERATORS]
    if not nodes:
        return []
    counts = Counter(node.op_type for node in nodes)
    message = (
        f"{len(nodes)} integer operators ({', '.join(f'{n} {op}' for op, n in counts.items())}): TensorRT reads Q/DQ "
        "pairs only, quantise the float file again in that form (QuantFormat.QDQ in ONNX Runtime)"
    )
    return [Finding(kind="refused", node=nodes[0].name, tensor=nodes[0].output[0], message=message)]


def _precision(layers: tuple[LayerInputs, ...]) -> str:
    types = {layer.activation.dtype for layer in layers if layer.int8_in and layer.activation is not None}
    if not types and any(layer.activation or layer.weight for layer in layers):
        return "int8"
    return " and ".join(sorted(types)) or "float"


def _audit_layer(layer: LayerInputs, flow: Flow, float_ok: tuple[str, ...]) -> LayerAudit:
    ends = flow.ends(layer.node.output[0])
    reason = ""
    if not layer.int8_in:
        reason = "it does not read int8"
    elif not ends.all_int8:
        reason = (
            f"its result is read in floating point by {', '.join(ends.floats)}" if ends.floats else "nobody reads it"
        )
    return LayerAudit(
        node=layer.node.name,
        op_type=layer.node.op_type,
        activation=_type_of(layer.activation),
        weight=_type_of(layer.weight),
        activation_scale=_only_scale(layer.activation),
        num_weight_scales=0 if layer.weight is None or layer.weight.scale is None else layer.weight.scale.size,
        int8_in=layer.int8_in,
        int8_out=not reason,
        out_reason=reason,
        accepted=layer.node.name in float_ok,
        problems=layer.problems,
    )


def _type_of(value: QuantizedValue | None) -> str:
    return "float" if value is None else value.dtype


def _only_scale(value: QuantizedValue | None) -> float | None:
    if value is None or value.scale is None or value.scale.size != 1:
        return None
    return float(value.scale.reshape(-1)[0])


def _audit_pool(node: onnx.NodeProto, flow: Flow, pairs: dict[str, Pair], done: set[str]) -> PoolAudit:
    judge = _judge_average if node.op_type in ("AveragePool", "GlobalAveragePool") else _judge_maximum
    int8, reason = judge(node, flow, pairs, done)
    return PoolAudit(node=node.name, op_type=node.op_type, int8=int8, reason=reason)


def _judge_average(node: onnx.NodeProto, flow: Flow, pairs: dict[str, Pair], done: set[str]) -> tuple[bool, str]:
    if flow.runs_int8(node):
        return True, ""
    value = dequantized(flow.graph, node.input[0])
    if value is None:
        return False, _FLOAT_INPUT
    if value.faults:
        return False, f"its pair {value.quantize!r}: {value.faults[0]}"
    readers = ", ".join(flow.ends(node.output[0]).floats) or "nobody"
    return False, f"its input is quantised, but its result is read in floating point by {readers}"


def _judge_maximum(node: onnx.NodeProto, flow: Flow, pairs: dict[str, Pair], done: set[str]) -> tuple[bool, str]:
    value = dequantized(flow.graph, node.input[0])
    quantizers = flow.ends(node.output[0]).quantizers
    if value is None:
        moved = bool(quantizers) and all(quantize.name in done for quantize in quantizers)
        return moved, "the quantisation behind it moves in front of it" if moved else _FLOAT_INPUT
    behind = [pairs[quantize.name].value for quantize in quantizers if quantize.name in pairs]
    other = next((v for v in behind if v is not None and not same_grid(v, value)), None)
    if other is None:
        return True, ""
    before, after = (_only_scale(v) or 0.0 for v in (value, other))
    return True, f"scale {before:.6g} before it, {after:.6g} behind: one more requantisation"
