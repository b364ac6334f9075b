"""Element types of all tensors of a graph, as ONNX's shape inference finds them."""

from __future__ import annotations

__all__ = ["cast_target", "element_types"]

import onnx

from resnet_deploy.core.errors import GraphError


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Type of each input, initializer and computed tensor by name, a value of TensorProto.DataType.

    Raises:
        GraphError: Shapes of the graph contradict each other; carries the inference's words.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        words = " ".join(str(error).split())
        raise GraphError(f"the graph does not fit together: {words}") from error
    types = {initializer.name: initializer.data_type for initializer in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def cast_target(cast: onnx.NodeProto) -> int:
    """The type that a Cast casts to."""
    return next(attribute.i for attribute in cast.attribute if attribute.name == "to")
