"""Small networks as files, and TensorRT-RTX where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.nets.catalogue import find_net

CHANNELS, CLASSES = 8, 10


def small_classifier(
    precision: str, *, zero_point: int = 0, scale: float = 0.05, batch: str | int = "N"
) -> onnx.ModelProto:
    """A 3x3 convolution, ReLU, average pooling and a linear layer, in fp32, fp16 (casts inside) or int8 (Q/DQ)."""
    rng = np.random.default_rng(0)
    kind = np.float16 if precision == "fp16" else np.float32
    stored = {
        "w": rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(kind),
        "fc_w": rng.normal(0, 0.3, (CLASSES, CHANNELS)).astype(kind),
        "fc_b": rng.normal(0, 0.3, CLASSES).astype(kind),
    }
    nodes, x, w = [], "images", "w"
    if precision == "fp16":
        nodes.append(helper.make_node("Cast", [x], ["x16"], to=TensorProto.FLOAT16))
        x = "x16"
    if precision == "int8":
        stored |= {"s": np.float32(scale), "z": np.int8(zero_point)}
        stored |= {"ws": np.full(CHANNELS, 0.01, np.float32), "wz": np.zeros(CHANNELS, np.int8)}
        nodes += [
            helper.make_node("QuantizeLinear", [x, "s", "z"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xdq"]),
            helper.make_node("QuantizeLinear", [w, "ws", "wz"], ["wq"], axis=0),
            helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wdq"], axis=0),
        ]
        x, w = "xdq", "wdq"
    last = "logits16" if precision == "fp16" else "logits"
    nodes += [
        helper.make_node("Conv", [x, w], ["c"], pads=[1, 1, 1, 1], name="stem"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc_w", "fc_b"], [last], transB=1, name="fc"),
    ]
    if precision == "fp16":
        nodes.append(helper.make_node("Cast", [last], ["logits"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def save_onnx(tmp_path: Path) -> Callable[..., Path]:
    """save_onnx(precision, name=..., manifest=..., **options of small_classifier) -> the file."""

    def save(precision: str, *, name: str = "", manifest: bool = False, **options: object) -> Path:
        file = tmp_path / (name or f"small.{precision}.onnx")
        onnx.save(small_classifier(precision, **options), file)
        if manifest:
            write_manifest(
                file,
                kind="onnx",
                stage="export",
                net=NetRecord(name="resnet8", num_classes=CLASSES),
                preprocess=find_net("resnet8").preprocess,
                labels=tuple(f"class {i}" for i in range(CLASSES)),
            )
        return file

    return save


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def rtx():
    """The TensorRT-RTX module; building with it needs no GPU."""
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
