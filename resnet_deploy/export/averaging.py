"""The mean of softmax as nodes of an ONNX graph; the same arithmetic as `nets.averaging.log_mean_softmax`."""

from __future__ import annotations

__all__ = ["append_log_mean_softmax", "int64_constant"]

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper


def append_log_mean_softmax(
    graph: onnx.GraphProto, source: str, *, classes: int, over: Sequence[int], name: str
) -> str:
    """Add nodes for log(mean(softmax(source))); gives the name of the result, in which averaged axes have size 1.

    The last step is a Sum, not an Add: to the placement of Q/DQ pairs an Add of two activations is a residual one.

    Args:
        source: Tensor of logits.
        classes: Its axis of classes.
        over: Its axes to average.
        name: What the new nodes' names begin with.
    """
    axes = int64_constant(graph, over)

    def node(kind: str, inputs: list[str], **attributes: int) -> str:
        result = f"{name}.{kind.lower()}"
        graph.node.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result

    chosen = node("LogSoftmax", [source], axis=classes)
    peak = node("ReduceMax", [chosen, axes], keepdims=1)
    powers = node("Exp", [node("Sub", [chosen, peak])])
    return node("Sum", [node("Log", [node("ReduceMean", [powers, axes], keepdims=1)]), peak])


def int64_constant(graph: onnx.GraphProto, values: Sequence[int]) -> str:
    """Name of the graph's initializer of these integers, called by value as in every exported graph."""
    name = "int64." + "_".join(map(str, values))
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
    return name
