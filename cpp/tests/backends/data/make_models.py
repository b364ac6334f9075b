"""Makes the two small networks beside this file: `python make_models.py`.

logits[n, k] = sum over the pixels of (R + 2 G + 4 B) * (k + 1): whole numbers, which every runtime computes exactly.
"""

from __future__ import annotations

__all__ = ["sums_of_floats", "sums_of_pixels"]

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4


def sums_of_floats() -> onnx.ModelProto:
    """float32 [N, 3, H, W] to float32 [N, 4]."""
    return _model([], "images", TensorProto.FLOAT, ["N", 3, "H", "W"])


def sums_of_pixels() -> onnx.ModelProto:
    """uint8 [N, H, W, 3] to float32 [N, 4]."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    return _model(nodes, "planes", TensorProto.UINT8, ["N", "H", "W", 3])


def _model(nodes: list[onnx.NodeProto], planes: str, element: int, shape: list[str | int]) -> onnx.ModelProto:
    weights = np.outer([1, 2, 4], np.arange(1, CLASSES + 1)).astype(np.float32)
    nodes = [
        *nodes,
        helper.make_node("ReduceSum", [planes, "axes"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("images", element, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    onnx.save(sums_of_floats(), folder / "sums_of_floats.onnx")
    onnx.save(sums_of_pixels(), folder / "sums_of_pixels.onnx")
