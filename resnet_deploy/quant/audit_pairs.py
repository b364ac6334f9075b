"""Judges the Q/DQ pairs of activations: which are in the wrong place, and where a tensor is converted by itself."""

from __future__ import annotations

__all__ = ["Pair", "find_doubtful_types", "find_pairs", "find_reformats", "find_strays", "int8_quantizers"]

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from resnet_deploy.graph.index import GraphIndex, name_of
from resnet_deploy.quant.audit_result import Finding, Reformat
from resnet_deploy.quant.qdq import QuantizedValue, same_grid, value_of
from resnet_deploy.quant.qdq_flow import Ends, Flow, dequantized

_TAKES_INT8 = {"AveragePool", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "Mul"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A QuantizeLinear on a computed tensor, and what is behind it.

    Attributes:
        value: As the first DequantizeLinear reads it; None where there is none.
        dequantized: Names of the float tensors behind it.
    """

    quantize: onnx.NodeProto
    value: QuantizedValue | None
    dequantized: tuple[str, ...]


def find_pairs(graph: GraphIndex) -> dict[str, Pair]:
    """The pairs on activations by the name of their QuantizeLinear, in the graph's order."""
    pairs = {}
    for node in graph.graph.node:
        if node.op_type != "QuantizeLinear" or graph.is_constant(node.input[0]):
            continue
        behind = [r.node for r in graph.readers[node.output[0]] if r.node.op_type == "DequantizeLinear"]
        value = value_of(graph, behind[0]) if behind else None
        pairs[node.name] = Pair(quantize=node, value=value, dequantized=tuple(dq.output[0] for dq in behind))
    return pairs


def find_doubtful_types(pairs: dict[str, Pair]) -> tuple[Finding, ...]:
    """Pairs in a type that TensorRT takes for another one."""
    return tuple(
        Finding(kind="type", node=name, tensor=pair.value.tensor, message=f"the pair {warning}")
        for name, pair in pairs.items()
        if pair.value is not None
        for warning in pair.value.warnings
    )


def find_strays(flow: Flow, pairs: dict[str, Pair]) -> tuple[Finding, ...]:
    """Pairs that round the values and spare nothing."""
    found = []
    for name, pair in pairs.items():
        if message := _why_stray(flow, pairs, pair):
            found.append(Finding(kind="stray pair", node=name, tensor=pair.quantize.input[0], message=message))
    return tuple(found)


def _why_stray(flow: Flow, pairs: dict[str, Pair], pair: Pair) -> str:
    if pair.value is None:
        readers = [reader.node for reader in flow.graph.readers[pair.quantize.output[0]]]
        return "" if readers or pair.quantize.output[0] in flow.outputs else "nobody reads it"
    takers = [taker for tensor in pair.dequantized for taker in flow.takers(tensor)]
    if not takers:
        return "nobody reads what comes out of it"
    nodes = [taker for taker in takers if not isinstance(taker, str)]
    if any(node.op_type in _TAKES_INT8 or node.name in flow.additions for node in nodes):
        return ""
    again = [pairs[node.name].value for node in nodes if node.name in pairs]
    if any(value is not None and same_grid(value, pair.value) for value in again):
        return ""
    if again and len(again) == len(takers):
        return "what comes out of it is only quantised again, with another scale"
    readers = ", ".join(f"the graph's output {t!r}" if isinstance(t, str) else name_of(t) for t in takers)
    maker = flow.graph.producer(pair.quantize.input[0], "Conv", "ConvTranspose", "Gemm", "Add")
    fused = any(node.op_type in ("Relu", "Clip") for node in nodes)
    hint = f"; it keeps {name_of(maker)} from fusing with what follows" if maker is not None and fused else ""
    return f"only {readers} reads it, in floating point{hint}"


def int8_quantizers(flow: Flow, pairs: dict[str, Pair]) -> set[str]:
    """Names of the QuantizeLinear nodes that some layer does in passing, as it writes its result."""
    done: set[str] = set()
    for node in flow.graph.graph.node:
        if flow.runs_int8(node):
            done |= _of_one_grid(flow.ends(node.output[0]), pairs)
    for name, pair in pairs.items():
        before = dequantized(flow.graph, pair.quantize.input[0])
        if before is not None and pair.value is not None and same_grid(before, pair.value):
            done.add(name)
    return done


def _of_one_grid(ends: Ends, pairs: dict[str, Pair]) -> set[str]:
    """A layer writes one int8 tensor: the quantizers of the first one's scale."""
    if not ends.all_int8:
        return set()
    values = {node.name: pairs[node.name].value for node in ends.quantizers if node.name in pairs}
    first = next(iter(values.values()), None)
    return {
        name for name, value in values.items() if first is not None and value is not None and same_grid(value, first)
    }


def find_reformats(flow: Flow, pairs: dict[str, Pair], done: set[str]) -> tuple[Reformat, ...]:
    """Conversions of their own: QuantizeLinear that no layer does, DequantizeLinear that some reader wants in float.

    Args:
        done: What `int8_quantizers` found.
    """
    found: dict[tuple[str, str, float], Reformat] = {}
    for name, pair in pairs.items():
        tensor = pair.quantize.input[0]
        to = "int8" if pair.value is None else pair.value.dtype
        key = (tensor, to, _first_scale(pair.value))
        if name not in done and key not in found:
            found[key] = Reformat(tensor=tensor, to=to, reason=_why_quantized_alone(flow, tensor, to))
        if readers := _float_readers(flow, pair.dequantized):
            reason = f"read in floating point by {', '.join(readers)}"
            found.setdefault((tensor, "float", 0.0), Reformat(tensor=tensor, to="float", reason=reason))
    return tuple(found.values())


def _why_quantized_alone(flow: Flow, tensor: str, to: str) -> str:
    node = flow.graph.producer(tensor)
    if node is None:
        return "the network's input"
    if dequantized(flow.graph, tensor) is not None:
        return "quantised before with another scale"
    floats = flow.ends(tensor).floats
    if floats:
        return f"also read in floating point by {', '.join(floats)}"
    return f"{name_of(node)} does not write {to}, or writes another scale"


def _float_readers(flow: Flow, tensors: Iterable[str]) -> list[str]:
    readers = []
    for tensor in tensors:
        for taker in flow.takers(tensor):
            if isinstance(taker, str):
                readers.append(f"the graph's output {taker!r}")
            elif taker.op_type != "QuantizeLinear" and not flow.runs_int8(taker):
                readers.append(name_of(taker))
    return list(dict.fromkeys(readers))


def _first_scale(value: QuantizedValue | None) -> float:
    return 0.0 if value is None or value.scale is None else float(value.scale.reshape(-1)[0])
