"""What a Q/DQ graph gives to its convolutions and matrix products: activation, weight and bias of each."""

from __future__ import annotations

__all__ = ["LayerInputs", "read_layers"]

from dataclasses import dataclass

import onnx

from resnet_deploy.graph.index import GraphIndex, name_of
from resnet_deploy.quant.audit_result import Finding
from resnet_deploy.quant.qdq import QuantizedValue, quantized_weight
from resnet_deploy.quant.qdq_flow import dequantized

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerInputs:
    """What one layer reads.

    Attributes:
        activation, weight: None where float.
        problems: Why it can not run in int8; empty where neither input is quantised.
        findings: What is doubtful, but no hindrance.
    """

    node: onnx.NodeProto
    activation: QuantizedValue | None
    weight: QuantizedValue | None
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def int8_in(self) -> bool:
        """Both inputs are quantised in a form that TensorRT computes with."""
        return self.activation is not None and self.weight is not None and not self.problems


def read_layers(graph: GraphIndex) -> tuple[LayerInputs, ...]:
    """Every Conv, ConvTranspose, Gemm, and MatMul with a constant weight, in the graph's order."""
    layers = []
    for node in graph.graph.node:
        if node.op_type not in _LAYERS:
            continue
        name, weight = quantized_weight(graph, node.input[1])
        if node.op_type == "MatMul" and not name:
            continue
        layers.append(_read_layer(graph, node, name, weight))
    return tuple(layers)


def _read_layer(graph: GraphIndex, node: onnx.NodeProto, name: str, weight: QuantizedValue | None) -> LayerInputs:
    activation = dequantized(graph, node.input[0])
    problems: list[str] = []
    findings: list[Finding] = []
    if activation is not None or weight is not None:
        problems += _activation_problems(node, activation)
        problems += _weight_problems(graph, node, name, weight)
        if activation is not None and weight is not None and activation.dtype != weight.dtype and not problems:
            problems.append(f"its activation is {activation.dtype}, its weight {weight.dtype}")
        findings += _doubts(graph, node, weight)
    return LayerInputs(
        node=node, activation=activation, weight=weight, problems=tuple(problems), findings=tuple(findings)
    )


def _activation_problems(node: onnx.NodeProto, activation: QuantizedValue | None) -> list[str]:
    if activation is None:
        return [f"its activation {node.input[0]!r} is read in floating point"]
    problems = [f"activation: {fault}" for fault in activation.faults]
    if activation.dtype == "uint8":
        problems += [f"activation: {warning}" for warning in activation.warnings]
    if activation.scale is not None and activation.scale.size > 1:
        problems.append(f"activation: {activation.scale.size} scales, TensorRT fuses one per tensor")
    return problems


def _weight_problems(graph: GraphIndex, node: onnx.NodeProto, name: str, weight: QuantizedValue | None) -> list[str]:
    if weight is None:
        return [f"its weight {name or node.input[1]!r} is float"]
    problems = [f"weight: {fault}" for fault in weight.faults]
    if weight.dtype == "uint8":
        problems += [f"weight: {warning}" for warning in weight.warnings]
    if weight.axis is not None:
        rank = len(graph.initializer(name).dims)
        if weight.axis % rank != (right := _channel_axis(node, rank)):
            problems.append(f"weight: scales along axis {weight.axis}, the output channels are along axis {right}")
    return problems


def _doubts(graph: GraphIndex, node: onnx.NodeProto, weight: QuantizedValue | None) -> list[Finding]:
    findings = []
    if weight is not None and weight.scale is not None and weight.scale.size == 1:
        shape = list(graph.initializer(weight.tensor).dims)
        if _num_channels(shape, node) > 1:
            message = f"one scale for a weight {shape}: a scale per output channel costs nothing and is more accurate"
            findings.append(Finding(kind="per-tensor weight", node=node.name, tensor=weight.tensor, message=message))
    bias = node.input[2] if len(node.input) > 2 else ""
    if graph.producer(bias, "DequantizeLinear") is not None:
        message = "the bias is quantised: TensorRT wants it in floating point (QuantizeBias=False in ONNX Runtime)"
        findings.append(Finding(kind="quantised bias", node=node.name, tensor=bias, message=message))
    for reader in graph.readers[node.output[0]]:
        if reader.node.op_type == "BatchNormalization":
            message = f"{name_of(reader.node)} is not folded into it, which fused patterns may need"
            findings.append(Finding(kind="not folded", node=node.name, tensor=node.output[0], message=message))
    return findings


def _channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """Axis of the output channels in the weight as the node reads it."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 1 if node.op_type == "ConvTranspose" else rank - 1


def _num_channels(shape: list[int], node: onnx.NodeProto) -> int:
    return max(shape) if node.op_type in ("Gemm", "MatMul") else shape[_channel_axis(node, len(shape))]
