"""A narrow residual network that decides, images for it, and faults planted in its files."""

from __future__ import annotations

__all__ = ["TINY_PIXELS", "plant", "random_images", "tiny_bottleneck"]

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from tests.reference.small_networks import copy_of

TINY_PIXELS = Preprocess(
    height_px=32, width_px=32, resize_shorter_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """[count, 32, 32, 3] uint8: squares of 4 px, each image with a mean and a contrast of its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(count, 8, 8, 3))
    contrast, middle = rng.uniform(0.3, 1, (count, 1, 1, 3)), rng.uniform(40, 215, (count, 1, 1, 3))
    values = np.clip(middle + contrast * (coarse - 128), 0, 255).astype(np.uint8)
    return values.repeat(4, axis=1).repeat(4, axis=2)


class _Builder:
    """Collects nodes and weights under the names that `export` gives them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def add(self, kind: str, name: str, *inputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, name: str, source: str, width_in: int, width: int, size: int, stride: int = 1) -> str:
        weight = self._rng.standard_normal((width, width_in, size, size)) * np.sqrt(2 / (width_in * size * size))
        names = (self.constant(f"{name}.weight", weight),
                 self.constant(f"{name}.bias", 0.1 * self._rng.standard_normal(width)))  # fmt: skip
        pads, strides = [size // 2] * 4, [stride] * 2
        return self.add("Conv", name, source, *names, kernel_shape=[size, size], pads=pads, strides=strides)

    def bottleneck(self, block: str, source: str, width_in: int, width: int, stride: int) -> str:
        x = self.add("Relu", f"{block}.relu", self.conv(f"{block}.conv1", source, width_in, width, 1))
        x = self.add("Relu", f"{block}.relu_1", self.conv(f"{block}.conv2", x, width, width, 3, stride))
        x = self.conv(f"{block}.conv3", x, width, 4 * width, 1)
        if (stride, width_in) != (1, 4 * width):
            source = self.conv(f"{block}.downsample.0", source, width_in, 4 * width, 1, stride)
        return self.add("Relu", f"{block}.relu_2", self.add("Add", f"{block}.add", x, source))


@lru_cache
def _tiny() -> onnx.ModelProto:
    build = _Builder()
    x = build.add("Relu", "relu", build.conv("conv1", "images", 3, 8, 3))
    x = build.add("MaxPool", "maxpool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    for block, width_in, width, stride in (
        ("layer1.0", 8, 4, 1), ("layer1.1", 16, 4, 1), ("layer2.0", 16, 6, 2), ("layer2.1", 24, 6, 1),
        ("layer3.0", 24, 8, 2),
    ):  # fmt: skip
        x = build.bottleneck(block, x, width_in, width, stride)
    x = build.add("Flatten", "flatten", build.add("GlobalAveragePool", "avgpool", x), axis=1)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 32, 32])
    opset = [helper.make_opsetid("", 20)]

    def model(outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(build.nodes, "tiny", [images], outputs, build.weights)
        return helper.make_model(graph, opset_imports=opset, ir_version=10)

    inside = model([helper.make_tensor_value_info("flatten", TensorProto.FLOAT, ["N", 32])])
    pixels = normalize(random_images(64, seed=7), TINY_PIXELS)
    features = open_session(inside, num_threads=1).run(None, {"images": pixels})[0]
    weight = np.random.default_rng(1).standard_normal((10, 32)) / (features.std(axis=0) + 1e-3)
    names = build.constant("fc.weight", weight), build.constant("fc.bias", -weight @ features.mean(axis=0))
    build.nodes.append(helper.make_node("Gemm", [x, *names], ["logits"], name="fc", transB=1))
    return model([helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])])


def tiny_bottleneck() -> onnx.ModelProto:
    """Five bottlenecks of 4 to 8 channels with a random classifier of centred features, so that images differ in class."""
    return copy_of(_tiny())


def plant(source: Path, target: Path, **faults: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A copy of an ONNX file and its manifest in which initializers are changed; names have "__" for ".".

    The manifest is that of the changed file: nothing but the numbers gives the fault away.
    """
    model, manifest = read_onnx(source), read_manifest(source)
    index = GraphIndex(model.graph)
    for key, change in faults.items():
        name = key.replace("__", ".")
        values = index.constant(name)
        index.initializer(name).CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), name))
    write_onnx(model, target)
    write_manifest(
        target,
        kind="onnx",
        stage=manifest.stage,
        parent=manifest,
        precision=manifest.precision,
        inputs={record.role: source.parent / record.file for record in manifest.inputs},
        options=manifest.options,
        details=manifest.details,
    )
    return target
