from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import open_images

DIGIT_NAMES = tuple(str(i) for i in range(10))


@pytest.fixture(scope="session")
def digit_weights() -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression from 8 x 8 x 3 averages of a digit to its class: [192, 10] and [10]; about 93 % on val."""
    pytest.importorskip("sklearn", reason="the bundled digits need scikit-learn")
    source = open_images("digits", split="train")
    images = np.concatenate([b.images for b in input_batches(source, DIGITS_PREPROCESS, batch_size=256)])
    x = images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(images), -1).astype(np.float64)
    x = np.hstack([x, np.ones((len(x), 1))])
    solution = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ np.eye(10)[source.labels])
    return solution[:-1].astype(np.float32), solution[-1].astype(np.float32)


@pytest.fixture
def save_linear(tmp_path: Path, digit_weights) -> Callable[..., Path]:
    """Write the classifier as ONNX with its manifest; `change` plants a fault in its weights."""

    def save(
        name: str,
        change: Callable = lambda w, b: (w, b),
        *,
        precision: Precision = Precision.FP32,
        labels: tuple[str, ...] | None = DIGIT_NAMES,
        manifest: bool = True,
        side_px: int = 32,
    ) -> Path:
        w, b = change(*digit_weights)
        file = tmp_path / name
        onnx.save(_linear_model(np.float32(w), np.float32(b), side_px), file)
        if manifest:
            write_manifest(
                file,
                kind="onnx",
                stage="export",
                net=NetRecord(name="resnet20", num_classes=w.shape[1]),
                preprocess=replace(DIGITS_PREPROCESS, height_px=side_px, width_px=side_px, resize_shorter_px=side_px),
                labels=labels,
                precision=precision,
            )
        return file

    return save


def _linear_model(w: np.ndarray, b: np.ndarray, side_px: int) -> onnx.ModelProto:
    window = [side_px // 8, side_px // 8]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=window, strides=window),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, side_px, side_px])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", w.shape[1]])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
