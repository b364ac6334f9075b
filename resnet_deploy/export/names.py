"""The exporter's graph made canonical: names that come from the network's modules, no tool's metadata."""

from __future__ import annotations

__all__ = ["canonical_from_torch", "drop_metadata"]

import ast

import numpy as np
import onnx
from onnx import numpy_helper

from resnet_deploy.core.errors import ExportError
from resnet_deploy.graph.index import GraphIndex, attributes_of

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def canonical_from_torch(model: onnx.ModelProto) -> None:
    """Rename and simplify, in place, a graph from torch's exporter.

    - A Conv, Gemm, pooling or ReLU module's node is called after the module (`layer1.0.conv1`, `maxpool`);
      any other node after the module it is part of and its operator (`layer1.0.add`, `layer1.0.relu`), with
      `_1`, `_2` in order where there are several. The node's output has the node's name.
    - The mean over rows and columns becomes GlobalAveragePool, the reshape to rows becomes Flatten: what
      both mean is then in the operator, not in a constant, and any batch size stays possible. An average over
      windows of one value (VGG's adaptive pool at 224 px) is left out.
    - Metadata, which holds file paths of the machine, is dropped, and so is the exporter's version: a calibration
      table belongs to the file's bytes, which must not change with every release. The manifest has all versions.

    Raises:
        ExportError: The exporter's graph is not of the expected form.
    """
    _use_plain_operators(model.graph)
    _rename_nodes(model.graph)
    _rename_constants(model.graph)
    drop_metadata(model)
    model.graph.name = "resnet"
    model.producer_name, model.producer_version = "resnet-deploy", ""


def _use_plain_operators(graph: onnx.GraphProto) -> None:
    _drop_pools_of_one(graph)
    index = GraphIndex(graph)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    for node in graph.node:
        if node.op_type == "ReduceMean" and len(node.input) == 2:
            keeps = any(a.name == "keepdims" and a.i == 1 for a in node.attribute)
            if keeps and sorted(index.constant(node.input[1]) % 4) == [2, 3]:
                _become(node, "GlobalAveragePool")
        elif node.op_type == "Reshape" and len(index.constant(node.input[1])) == 2:
            rows, columns = index.constant(node.input[1])
            is_pooled = index.producer(node.input[0], "GlobalAveragePool") is not None
            known = shapes.get(node.input[0], [])[1:]
            if rows in (-1, 0) and (is_pooled or (known and np.prod(known) == columns)):
                _become(node, "Flatten")
                node.attribute.append(onnx.helper.make_attribute("axis", 1))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _drop_pools_of_one(graph: onnx.GraphProto) -> None:
    for node in [node for node in graph.node if node.op_type == "AveragePool"]:
        settings = attributes_of(node)
        is_identity = {*settings["kernel_shape"], *settings.get("strides", [1])} == {1}
        if is_identity and not any(settings.get("pads", [])):
            for reader in GraphIndex(graph).readers[node.output[0]]:
                reader.node.input[reader.position] = node.input[0]
            graph.node.remove(node)


def _become(node: onnx.NodeProto, op_type: str) -> None:
    node.op_type = op_type
    del node.input[1:]
    del node.attribute[:]


def _rename_nodes(graph: onnx.GraphProto) -> None:
    outputs = {tensor.name for tensor in graph.output}
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    for node in graph.node:
        node.name = _free_name(_module_name(node), taken)
        taken.add(node.name)
        if len(node.output) != 1:
            raise ExportError(f"node {node.name!r} ({node.op_type}) has {len(node.output)} outputs, expected one")
        if node.output[0] not in outputs:
            renamed[node.output[0]] = node.name
            node.output[0] = node.name
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)


def _module_name(node: onnx.NodeProto) -> str:
    scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES_KEY), None)
    if scopes is None:
        raise ExportError(f"torch's exporter did not say which module node {node.name!r} comes from")
    path = [*ast.literal_eval(scopes)][-2:-1]
    module = path[0] if path else ""
    if node.op_type in ("Conv", "Gemm", "MaxPool", "GlobalAveragePool") and module:
        return module
    operator = node.op_type.lower()
    return module if module.split(".")[-1] == operator else f"{module}.{operator}".lstrip(".")


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _rename_constants(graph: onnx.GraphProto) -> None:
    """Weights have their state-dict keys already; the exporter's integers (axes, pads) are called by value."""
    renamed = {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int64:
            renamed[tensor.name] = "int64." + "_".join(str(v) for v in values.ravel())
    kept = {renamed.get(t.name, t.name): t for t in graph.initializer}
    for name, tensor in kept.items():
        tensor.name = name
    unique = list(kept.values())
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in unique]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def drop_metadata(model: onnx.ModelProto) -> None:
    """Descriptions and paths of the exporter's machine."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del graph.value_info[:]
