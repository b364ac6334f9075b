"""Graph pass: what is computed from constants alone becomes a constant."""

from __future__ import annotations

__all__ = ["fold_constants"]

import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.session import open_session

_NOT_CONSTANT = {
    "Bernoulli", "DequantizeLinear", "Multinomial", "QuantizeLinear", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "RandomUniformLike",
}  # fmt: skip
"""Random numbers, and pairs on weights, which say how the weight is to be computed with."""


def fold_constants(model: onnx.ModelProto) -> int:
    """Replace, in place, nodes that read only constants by what ONNX Runtime computes for them.

    Returns:
        How many nodes that were.
    Raises:
        GraphError: ONNX Runtime can not compute one of them.
    """
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    nodes, kept = [], []
    for node in graph.node:
        if node.op_type not in _NOT_CONSTANT and all(name in known for name in node.input if name):
            nodes.append(node)
            known.update(node.output)
        else:
            kept.append(node)
    made = {name for node in nodes for name in node.output if name}
    results = {tensor.name for tensor in graph.output}
    wanted = sorted(made & (results | {name for node in kept for name in node.input}))
    if not wanted:
        return 0
    read = {name for node in nodes for name in node.input}
    part = helper.make_graph(
        nodes,
        "constants",
        [],
        [onnx.ValueInfoProto(name=name) for name in wanted],
        [tensor for tensor in graph.initializer if tensor.name in read],
    )
    values = _run(helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version), wanted)
    for name, value in zip(wanted, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value, name))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    return len(nodes)


def _run(model: onnx.ModelProto, wanted: list[str]) -> list:
    session = open_session(model)
    try:
        return session.run(wanted, {})
    except Exception as error:  # the classes of onnxruntime's errors are private and have no common base
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise GraphError(f"what is computed from constants can not be computed: {reason}") from error
