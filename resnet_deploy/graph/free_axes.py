"""Which axes of a graph's input are of any size, and what follows for its outputs."""

from __future__ import annotations

__all__ = ["fixed_batch", "set_input_axes"]

import onnx

from resnet_deploy.core.errors import GraphError


def fixed_batch(model: onnx.ModelProto) -> int | None:
    """The one number of images that the graph takes; None where it takes any."""
    return model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None


def set_input_axes(model: onnx.ModelProto, *, batch: int | None, any_size: bool) -> None:
    """Fix or free the axes of the image input, in place, and say the shapes of all outputs that follow.

    An output's axis that is of any size is named after the output ("c3.H"), the batch "N".

    Args:
        batch: Images at a time; None takes any number.
        any_size: Free height and width; else they stay as they are.
    Raises:
        GraphError: The shapes contradict each other; carries the inference's words.
    """
    graph = model.graph
    dims = graph.input[0].type.tensor_type.shape.dim
    _set(dims[0], batch or "N")
    if any_size:
        _set(dims[2], "H")
        _set(dims[3], "W")
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(f"the graph does not fit together: {' '.join(str(error).split())}") from error
    for value, found in zip(graph.output, inferred.output, strict=True):
        shape = value.type.tensor_type.shape
        for axis, dim in enumerate(found.type.tensor_type.shape.dim):
            named = "N" if axis == 0 else f"{value.name}.{'NCHW'[axis]}"
            _set(shape.dim.add(), (batch or "N") if axis == 0 else dim.dim_value or named)


def _set(dim: onnx.TensorShapeProto.Dimension, size: int | str) -> None:
    dim.Clear()
    if isinstance(size, int):
        dim.dim_value = size
    else:
        dim.dim_param = size
