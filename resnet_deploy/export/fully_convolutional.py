"""A classifier's ONNX graph with the head at every window position, for images of any size."""

from __future__ import annotations

__all__ = ["fully_convolutional_onnx"]

import onnx
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import ExportError
from resnet_deploy.export.averaging import append_log_mean_softmax
from resnet_deploy.graph.index import GraphIndex, attributes_of


def fully_convolutional_onnx(model: onnx.ModelProto, *, window: tuple[int, int]) -> onnx.ModelProto:
    """`images` [N, 3, H, W] of any size from the network's own up -> `logits` [N, K].

    The global average pool becomes one over windows with stride 1, linear layers become convolutions, and the
    softmax is averaged over positions; see `nets.fully_convolutional`.

    Args:
        model: FP32 graph that `export` made.
        window: Rows and columns of the last maps at the network's own input size.
    Raises:
        ExportError: The graph does not end in a Flatten and linear layers.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    index = GraphIndex(graph)
    flats = [node for node in graph.node if node.op_type == "Flatten" and _is_read_by_linear(index, node)]
    if len(flats) != 1:
        raise ExportError(
            f"the graph has {len(flats)} Flatten nodes before a linear layer, its fully convolutional form needs one"
        )
    flat = flats[0]
    pool = index.producer(flat.input[0], "GlobalAveragePool")
    if pool is not None:
        pool.op_type = "AveragePool"
        pool.attribute.append(helper.make_attribute("kernel_shape", window))
        pool.attribute.append(helper.make_attribute("strides", (1, 1)))
    kernel = (1, 1) if pool is not None else window
    for linear in [node for node in graph.node if node.op_type == "Gemm"]:
        _become_convolution(index, linear, kernel)
        kernel = (1, 1)
    for reader in index.readers[flat.output[0]]:
        reader.node.input[reader.position] = flat.input[0]
    graph.node.remove(flat)
    _average_positions(graph)
    for axis, name in ((2, "H"), (3, "W")):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del graph.value_info[:]
    return result


def _is_read_by_linear(index: GraphIndex, node: onnx.NodeProto) -> bool:
    return [reader.node.op_type for reader in index.readers[node.output[0]]] == ["Gemm"]


def _become_convolution(index: GraphIndex, linear: onnx.NodeProto, kernel: tuple[int, int]) -> None:
    settings = attributes_of(linear)
    factors = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    if not settings.get("transB", 0) or settings.get("transA", 0) or factors != (1.0, 1.0):
        raise ExportError(f"linear layer {linear.name!r} is {settings}, expected transB and no factors")
    weight = index.initializer(linear.input[1])
    values = numpy_helper.to_array(weight)
    reshaped = values.reshape(len(values), -1, *kernel)
    weight.CopyFrom(numpy_helper.from_array(reshaped, weight.name))
    linear.op_type = "Conv"
    del linear.attribute[:]
    linear.attribute.append(helper.make_attribute("kernel_shape", kernel))


def _average_positions(graph: onnx.GraphProto) -> None:
    logits = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["score_maps" if name == logits else name for name in node.output]
    mean = append_log_mean_softmax(graph, "score_maps", classes=1, over=(2, 3), name="positions")
    graph.node.append(helper.make_node("Flatten", [mean], [logits], name="positions.mean", axis=1))
