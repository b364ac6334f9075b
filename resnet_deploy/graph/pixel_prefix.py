"""The pixel contract as a graph: uint8 pixels of any size in, the network's input out, in plain ONNX operations.

Everything is a whole number in float32 or int32 until the last step, so no order of summation and no rounding of a
runtime can change a byte: see `graph.resize_weights`. The last step, `(x / 255 - mean) / std`, has 3 x 256 answers; they
are read from a table that the host's own function filled, because runtimes do not agree on a float division (some multiply
by the reciprocal).
"""

from __future__ import annotations

__all__ = ["PIXELS", "PREFIX", "preprocess_model", "takes_pixels", "with_pixel_input"]

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Preprocess, TensorSpec
from resnet_deploy.graph.node_writer import NodeWriter
from resnet_deploy.graph.resize_weights import WEIGHT_BITS, add_axis_weights

PIXELS = "pixels"
"""Name of the input."""
PREFIX = "preprocess"
"""Begins the name of every node and tensor that is put before a network."""

_OPSET, _IR = 20, 9
_OLDEST_OPSET = 13  # ReduceSum and Unsqueeze take their axes as an input from here on
_OUTPUT = "images"


def takes_pixels(inputs: Sequence[TensorSpec]) -> bool:
    """Whether a network's inputs are those of this prefix: one, uint8 [N, height, width, 3] of any size."""
    if len(inputs) != 1 or inputs[0].dtype != "uint8" or len(inputs[0].shape) != 4:
        return False
    _, height, width, channels = inputs[0].shape
    return channels == 3 and not any(isinstance(side, int) and side > 0 for side in (height, width))


def preprocess_model(spec: Preprocess) -> onnx.ModelProto:
    """The prefix by itself: `pixels` uint8 [N, height, width, 3] -> `images` float32 [N, 3, height_px, width_px]."""
    ops = NodeWriter(PREFIX)
    _write(ops, spec, TensorProto.FLOAT, _OUTPUT)
    output = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["N", *spec.input_shape])
    graph = helper.make_graph(ops.nodes, PREFIX, [_pixel_input("N")], [output], ops.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def with_pixel_input(model: onnx.ModelProto, spec: Preprocess, *, name: str) -> onnx.ModelProto:
    """A copy of a network that takes pixels; its own nodes, types and weights stay as they are.

    Args:
        spec: Of the network, from its manifest.
        name: Of the file, for messages.
    Raises:
        GraphError: Its input is not one batch of such images, or takes pixels already; or its opset is too old.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    _check_input(inputs, spec, name)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        raise GraphError(
            f"{name} has opset {opset}, preprocessing in the graph needs {_OLDEST_OPSET} or later",
            remedy="export the network again, or `resnet-deploy import` the file, which raises its opset",
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    old = next(value for value in graph.input if value.name == inputs[0].name)
    ops = NodeWriter(PREFIX)
    _write(ops, spec, old.type.tensor_type.elem_type, old.name)
    for node in reversed(ops.nodes):
        graph.node.insert(0, node)
    graph.initializer.extend(ops.constants)
    batch = old.type.tensor_type.shape.dim[0]
    old.CopyFrom(_pixel_input(batch.dim_value or batch.dim_param or "N"))
    return result


def _check_input(inputs: list[onnx.ValueInfoProto], spec: Preprocess, name: str) -> None:
    kinds = [(value.type.tensor_type.elem_type, value.type.tensor_type.shape.dim) for value in inputs]
    got = ", ".join(
        f"{value.name} {TensorProto.DataType.Name(kind).lower()} [{', '.join(d.dim_param or str(d.dim_value) for d in dims)}]"
        for value, (kind, dims) in zip(inputs, kinds, strict=True)
    )
    if len(kinds) == 1 and kinds[0][0] == TensorProto.UINT8:
        raise GraphError(f"{name} takes pixels already: its input is {got}", remedy="give the file it was made from")
    fits = len(kinds) == 1 and kinds[0][0] in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    fits = fits and len(kinds[0][1]) == 4
    fits = fits and all(
        not dim.dim_value or dim.dim_value == side for dim, side in zip(kinds[0][1][1:], spec.input_shape, strict=True)
    )
    if not fits:
        raise GraphError(
            f"{name}: the input is {got}, its preprocessing gives floats [N, 3, {spec.height_px}, {spec.width_px}]",
            remedy="give a network whose only input is the preprocessed image",
        )


def _pixel_input(batch: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [batch, "height", "width", 3])


def _write(ops: NodeWriter, spec: Preprocess, element_type: int, output: str) -> None:
    """Append the whole prefix; its result is named `output`."""
    planes = ops.node("Transpose", ops.cast(PIXELS, "float32"), perm=[0, 3, 1, 2])  # only Cast reads uint8 in TensorRT
    if spec.resize_shorter_px is None:
        cropped = _crop(ops.within("crop"), planes, spec)
    else:
        cropped = _resize_and_crop(ops, planes, spec, spec.resize_shorter_px)
    normal = ops.within("normalize")
    channel = normal.int32(256 * np.arange(3).reshape(1, 3, 1, 1))
    place = normal.add(normal.cast(cropped, "int32"), channel)
    is_float32 = element_type == TensorProto.FLOAT
    images = normal.node("Gather", normal.float32(_table(spec)), place, output=output if is_float32 else None)
    if not is_float32:
        normal.node("Cast", images, to=element_type, output=output)


def _table(spec: Preprocess) -> np.ndarray:
    """[3 * 256] float32: `(x / 255 - mean) / std` of every pixel value, channel by channel, as the host computes it."""
    x = np.arange(256, dtype=np.float32)[None, :] / np.float32(255)
    return ((x - np.float32(spec.mean)[:, None]) / np.float32(spec.std)[:, None]).ravel()


def _sides(ops: NodeWriter) -> tuple[str, str]:
    """Height and width of the image, int32 [1]."""
    shape = ops.node("Shape", PIXELS)
    return tuple(
        ops.cast(ops.node("Slice", shape, ops.int64([axis]), ops.int64([axis + 1])), "int32") for axis in (1, 2)
    )


def _crop(ops: NodeWriter, planes: str, spec: Preprocess) -> str:
    """Cut the centre. The Reshape changes nothing, but fails for images that are smaller than the crop, also in a batch."""
    starts, ends = [], []
    for side, crop_px in zip(_sides(ops), (spec.height_px, spec.width_px), strict=True):
        start = ops.half_to_even(ops.subtract(side, ops.int32(crop_px)))
        starts.append(start)
        ends.append(ops.add(start, ops.int32(crop_px)))
    bounds = [ops.cast(ops.node("Concat", *each, axis=0), "int64") for each in (starts, ends)]
    window = ops.node("Slice", planes, *bounds, ops.int64([2, 3]))
    return ops.node("Reshape", window, ops.int64([0, *spec.input_shape]))


def _resize_and_crop(ops: NodeWriter, planes: str, spec: Preprocess, resize_px: int) -> str:
    """Two passes, horizontal first, each only for the rows or columns that the crop keeps."""
    # an image without pixels must not end the process by a division by zero
    height, width = (_scalar(ops, ops.maximum(side, ops.int32(1))) for side in _sides(ops))
    shorter = ops.node("Min", height, width)
    common = {"shorter": shorter, "resize_px": resize_px}
    across = add_axis_weights(ops, "columns", length=width, crop_px=spec.width_px, output_first=False, **common)
    down = add_axis_weights(ops, "rows", length=height, crop_px=spec.height_px, output_first=True, **common)
    first, second = ops.within("horizontal"), ops.within("vertical")
    high, low = (first.node("MatMul", planes, weights) for weights in (across.high, across.low))
    narrow = _joined(first, high, low, across.step)
    high, low = (second.node("MatMul", weights, narrow) for weights in (down.high, down.low))
    return _joined(second, high, low, down.step)


def _scalar(ops: NodeWriter, value: str) -> str:
    return ops.node("Squeeze", value, ops.int64([0]))


def _joined(ops: NodeWriter, high: str, low: str, step: str) -> str:
    """floor((B * high + low + 2^21) / 2^22) of the sums of a pass, with no number of 2^24 or more.

    `high` is divided by 2^22 / B first; what is left of it, times B, is below 2^22. The result is at most 255 without
    clipping: weights are not negative, and the rounding of all of them together is less than 2^21 / 255.
    """
    per_unit = ops.node("Div", ops.float32(2.0**WEIGHT_BITS), step)
    whole = ops.node("Floor", ops.node("Div", high, per_unit))
    rest = ops.multiply(ops.subtract(high, ops.multiply(whole, per_unit)), step)
    rest = ops.add(ops.add(rest, low), ops.float32(2.0 ** (WEIGHT_BITS - 1)))
    return ops.add(whole, ops.node("Floor", ops.multiply(rest, ops.float32(2.0**-WEIGHT_BITS))))
