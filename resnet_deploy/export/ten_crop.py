"""A classifier's ONNX graph that takes ten crops of its input by itself and averages them."""

from __future__ import annotations

__all__ = ["ten_crop_onnx"]

import onnx
from onnx import helper

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.averaging import append_log_mean_softmax, int64_constant

_BEGIN = -(2**63) + 1
_END = 2**63 - 1


def ten_crop_onnx(model: onnx.ModelProto, preprocess: Preprocess, side_px: int) -> onnx.ModelProto:
    """`images` [N, 3, side_px, side_px] -> `logits` [N, K]: log of the mean softmax over ten crops.

    The crops are cut from the batch and run as a batch of 10 N; the network's own nodes stay as they are. Mirror
    images are slices with step -1.

    Args:
        model: FP32 graph that `export` made.
        preprocess: Of `model`; its input size is that of a crop.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    images, logits = graph.input[0].name, graph.output[0].name
    for dim in graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = side_px
    crops = _append_crops(graph, images, (preprocess.height_px, preprocess.width_px), side_px)
    for node in nodes:
        node.input[:] = [crops if name == images else name for name in node.input]
        node.output[:] = ["crops.logits" if name == logits else name for name in node.output]
    graph.node.extend(nodes)
    num_classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = int64_constant(graph, (10, -1, num_classes))
    graph.node.append(helper.make_node("Reshape", ["crops.logits", shape], ["crops.by_view"], name="crops.by_view"))
    mean = append_log_mean_softmax(graph, "crops.by_view", classes=2, over=[0], name="crops")
    rows = int64_constant(graph, (-1, num_classes))
    graph.node.append(helper.make_node("Reshape", [mean, rows], [logits], name="crops.mean"))
    return result


def _append_crops(graph: onnx.GraphProto, images: str, size: tuple[int, int], side_px: int) -> str:
    below, beside = side_px - size[0], side_px - size[1]
    places = [(0, 0), (0, beside), (below, 0), (below, beside), (round(below / 2), round(beside / 2))]
    names = []
    for index, (top, left) in enumerate(places):
        name = f"crops.{index}"
        window = [
            int64_constant(graph, values) for values in ((top, left), (top + size[0], left + size[1]), (2, 3), (1, 1))
        ]
        graph.node.append(helper.make_node("Slice", [images, *window], [name], name=name))
        names.append(name)
    backwards = [int64_constant(graph, (value,)) for value in (_END, _BEGIN, 3, -1)]
    for name in tuple(names):
        mirrored = f"{name}.mirrored"
        graph.node.append(helper.make_node("Slice", [name, *backwards], [mirrored], name=mirrored))
        names.append(mirrored)
    graph.node.append(helper.make_node("Concat", names, ["crops"], name="crops", axis=0))
    return "crops"
