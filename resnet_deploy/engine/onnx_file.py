"""What an ONNX file says of itself: its tensors, and the precision its convolutions run in."""

from __future__ import annotations

__all__ = ["image_input", "onnx_precision", "tensor_specs"]

from collections.abc import Iterable

import onnx

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision, TensorSpec


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Names, types and shapes of graph inputs or outputs; -1 where an axis has no name and no size."""
    return tuple(
        TensorSpec(
            name=value.name,
            dtype=str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            shape=tuple(
                dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or -1)
                for dim in value.type.tensor_type.shape.dim
            ),
        )
        for value in values
    )


def image_input(model: onnx.ModelProto, *, name: str) -> TensorSpec:
    """The graph's one input, [N, ...]; what old files list among the inputs though it is stored does not count.

    Args:
        name: Of the file, for the message.
    Raises:
        GraphError: Several inputs or none, or one without a batch axis.
    """
    stored = {initializer.name for initializer in model.graph.initializer}
    inputs = tensor_specs(value for value in model.graph.input if value.name not in stored)
    if len(inputs) != 1 or not inputs[0].shape:
        raise GraphError(
            f"{name} has the inputs {[f'{spec.name} {list(spec.shape)}' for spec in inputs]}, "
            "expected one with the batch as its first axis",
            remedy="export the network with the image as its only input",
        )
    return inputs[0]


_FLOATS = {onnx.TensorProto.FLOAT16: Precision.FP16, onnx.TensorProto.BFLOAT16: Precision.BF16}
_FP8 = {onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E5M2}


def onnx_precision(model: onnx.ModelProto) -> Precision:
    """int8 or fp8 where the graph quantizes activations or weights, else the type of its convolutions' weights.

    A graph whose weights are cast on their way (float32 stored, float16 used) counts as what it casts to.
    """
    graph = model.graph
    types = {initializer.name: initializer.data_type for initializer in graph.initializer}
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        return Precision.FP8 if _FP8 & set(types.values()) else Precision.INT8
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in types:
            types[node.output[0]] = next(a.i for a in node.attribute if a.name == "to")
    weights = [types.get(node.input[1]) for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    half = next((kind for kind in _FLOATS if weights.count(kind) * 2 > len(weights)), None)
    return Precision.FP32 if half is None else _FLOATS[half]
