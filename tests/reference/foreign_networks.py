"""Small residual networks as other exporters write them: batch norm not folded, constants in nodes, fixed batch."""

from __future__ import annotations

__all__ = ["foreign_bytes", "foreign_net", "old_style_onnx"]

import io
import warnings
from functools import lru_cache

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class _Net(nn.Module):
    """Stem, max-pool, an identity block, a downsampling one of option B, mean, dropout, linear."""

    def __init__(self, *, softmax: bool, flat: bool, activation: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), activation())
        self.body = nn.Sequential(nn.MaxPool2d(3, 2, 1), _Block(8, 8, 1), _Block(8, 16, 2))
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(16 * 16 if flat else 16, 10)
        self.softmax, self.flat = softmax, flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(x))
        x = x.view(x.size(0), -1) if self.flat else x.mean([2, 3])
        x = self.fc(self.dropout(x))
        return x.softmax(1) if self.softmax else x


@lru_cache
def foreign_net(*, softmax: bool = False, flat: bool = False, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """In evaluation mode, input [N, 3, 32, 32], with batch statistics of noise."""
    torch.manual_seed(0)
    net = _Net(softmax=softmax, flat=flat, activation=activation)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        net.train()(torch.randn(16, 3, 32, 32))
    return net.eval()


@lru_cache
def foreign_bytes(
    *, dynamic: bool = False, batch: int = 1, opset: int = 13, two_outputs: bool = False, **options
) -> bytes:
    """The network as torch's older exporter writes it, nothing folded: input `x`, output `y`."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = foreign_net(**options)

        def forward(self, x: torch.Tensor):
            y = self.net(x)
            return (y, y * 2) if two_outputs else y

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Both().eval(),
            (torch.zeros(batch, 3, 32, 32),),
            file,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=opset,
            input_names=["x"],
            output_names=["y", "z"] if two_outputs else ["y"],
            dynamic_axes={"x": {0: "n"}} if dynamic else None,
        )
    return file.getvalue()


def old_style_onnx() -> onnx.ModelProto:
    """Opset 9: weights listed among the inputs, Dropout with a mask, nodes without names, MatMul and Add, Softmax."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 3, 3, 3), "gamma": (4,), "beta": (4,), "mean": (4,), "fc": (4, 5), "bias": (5,)}
    values = {name: rng.standard_normal(shape) for name, shape in shapes.items()} | {"variance": rng.random(4) + 0.5}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=2e-5),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Dropout", ["r"], ["d", "mask"], ratio=0.5),
        helper.make_node("GlobalAveragePool", ["d"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["a"]),
        helper.make_node("Softmax", ["a"], ["prob"]),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    weights = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.dims)) for t in tensors]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 8, 8]), *weights],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [1, 5])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)
