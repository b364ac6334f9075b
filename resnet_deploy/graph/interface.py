"""A foreign graph's way in and out becomes the chain's: `images` [N, 3, H, W] float32 in, `logits` [N, K] out."""

from __future__ import annotations

__all__ = ["choose_output", "image_input", "make_batch_dynamic", "rename_tensor", "set_input_shape"]

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import GraphIndex

_BATCH_AXIS = "N"


def image_input(model: onnx.ModelProto, *, height_px: int, width_px: int, name: str) -> onnx.ValueInfoProto:
    """The graph's one input, proven to take images of that size.

    Initializers that old files list among the inputs are taken out of that list.

    Args:
        name: Of the file, for the message.
    Raises:
        GraphError: Several inputs, or it is not float32 [N, 3, height_px, width_px].
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    for place in reversed(range(len(graph.input))):
        if graph.input[place].name in constants:
            del graph.input[place]
    if len(graph.input) != 1:
        raise GraphError(
            f"{name} has {len(graph.input)} inputs ({', '.join(map(_said, graph.input)) or 'none'}), expected one",
            remedy="export the network with the image as its only input",
        )
    image = graph.input[0]
    dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]  # 0 where dynamic
    fits = len(dims) == 4 and all(
        not got or got == expected for got, expected in zip(dims[1:], (3, height_px, width_px), strict=True)
    )
    if image.type.tensor_type.elem_type != TensorProto.FLOAT or not fits:
        remedy = "export the network in float32 with channels first"
        if len(dims) == 4 and dims[1] == 3 and dims[2] and dims[3]:
            remedy = f"give the size it was exported for: --size {dims[2]}" if dims[2] == dims[3] else remedy
        raise GraphError(
            f"{name}: the input is {_said(image)}, expected float32 [N, 3, {height_px}, {width_px}]", remedy=remedy
        )
    return image


def choose_output(model: onnx.ModelProto, wanted: str | None, *, name: str) -> str:
    """Keep one output; returns its name.

    Raises:
        GraphError: Several outputs and none is named, or the named one is not there.
    """
    graph = model.graph
    names = [tensor.name for tensor in graph.output]
    if wanted is None and len(names) > 1:
        raise GraphError(
            f"{name} has {len(names)} outputs: {', '.join(map(_said, graph.output))}",
            remedy="name the logits with --output NAME",
        )
    if wanted is not None and wanted not in names:
        raise GraphError(f"{name} has no output {wanted!r}", remedy=f"its outputs: {', '.join(names)}")
    chosen = wanted or names[0]
    for place in reversed(range(len(graph.output))):
        if graph.output[place].name != chosen:
            del graph.output[place]
    return chosen


def set_input_shape(model: onnx.ModelProto, shape: tuple[int | str, ...]) -> None:
    """Give the input a shape, a name for an axis of any size, and forget the shapes that followed from the old one."""
    image = model.graph.input[0]
    image.CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, shape))
    del model.graph.value_info[:]


def make_batch_dynamic(model: onnx.ModelProto, batch: int) -> None:
    """Let the input take any number of images, and every Reshape that wrote `batch` down keep its input's first axis."""
    graph = model.graph
    index = GraphIndex(graph)
    for node in graph.node:
        if node.op_type != "Reshape" or not index.is_constant(node.input[1]):
            continue
        wanted = index.constant(node.input[1])
        if wanted.size > 1 and wanted[0] == batch:
            name = f"{node.name}.shape"
            graph.initializer.append(numpy_helper.from_array(np.array([0, *wanted[1:]], np.int64), name))
            node.input[1] = name
    dims = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    set_input_shape(model, (_BATCH_AXIS, *dims[1:]))
    classes = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    result = helper.make_tensor_value_info(graph.output[0].name, TensorProto.FLOAT, [_BATCH_AXIS, classes])
    graph.output[0].CopyFrom(result)


def rename_tensor(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a tensor another name; one that has the new name already is called `<new>_original`."""
    if old == new:
        return
    graph = model.graph
    swaps = {new: f"{new}_original", old: new}
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = swaps.get(name, name)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = swaps.get(value.name, value.name)


def _said(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    shape = [str(dim.dim_value or dim.dim_param or "?") for dim in kind.shape.dim]
    return f"{value.name!r} {TensorProto.DataType.Name(kind.elem_type).lower()} [{', '.join(shape)}]"
