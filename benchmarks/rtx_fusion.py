"""Which ways of writing an INT8 convolution in ONNX does TensorRT-RTX fuse? Asked of engines, without a GPU.

    python benchmarks/rtx_fusion.py [--target sm86] [--folder out/rtx-fusion]

Writes a graph of two convolutions for each form, builds it, and prints the kernels of the engine's program with the
types that they read and write. Graphs and engines stay in FOLDER, for `resnet-deploy bench` on a GPU. What the forms
gave with TensorRT-RTX 1.7.1 is in docs/reference/tensorrt-rtx-fusion.md; run it again for another version.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import ArtifactError, EngineBuildError, ResnetDeployError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.inspection.layers import EngineLayers
from resnet_deploy.engine.inspection.program_text import read_program_text

_CHANNELS, _SIZE = 128, 28
_INPUT_SCALE, _SCALE = np.float16(0.0312), np.float16(0.0207)  # of the input, and of the first convolution's result
_LARGEST_FP16 = float(np.finfo(np.float16).max)


class _Graph:
    """A graph under construction; each method appends nodes and returns its result's name."""

    def __init__(self, channels: int, size: int) -> None:
        rng = np.random.default_rng(0)
        shape = (channels, channels, 3, 3)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape = (channels, size, size)
        self.weights = [rng.integers(-127, 128, shape).astype(np.int8) for _ in range(2)]
        # of a channel's sum over 9 x channels products, so that results are about as large as inputs
        typical = 1 / (73 * 3 * math.sqrt(channels))
        self.weight_scales = [(typical * rng.uniform(0.2, 1, channels)).astype(np.float16) for _ in range(2)]
        self.biases = [(0.1 * rng.standard_normal(channels)).astype(np.float16) for _ in range(2)]

    def constant(self, value: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, op_type: str, *inputs: str, **attributes) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def quantize(self, x: str, scale: np.ndarray) -> str:
        return self.op("QuantizeLinear", x, self.constant(scale), self.constant(np.int8(0)))

    def dequantize(self, x: str, scale: np.ndarray, **attributes) -> str:
        zero_point = np.zeros(np.shape(scale), np.int8)
        return self.op("DequantizeLinear", x, self.constant(scale), self.constant(zero_point), **attributes)

    def convolve(self, x: str, weight: str, bias: str | None) -> str:
        return self.op("Conv", x, weight, *([bias] if bias else []), kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def int8_weight(self, index: int, *, per_channel: bool) -> str:
        """The weight behind its DequantizeLinear; rounded anew where all channels share a scale."""
        values, scales = self.weights[index], self.weight_scales[index]
        if per_channel:
            return self.dequantize(self.constant(values), scales, axis=0)
        one = scales.max()
        values = np.rint(values * (np.float32(scales) / np.float32(one)).reshape(-1, 1, 1, 1)).astype(np.int8)
        return self.dequantize(self.constant(values), one)

    def int8_convolution(self, levels: str, scale: np.float16, index: int, *, per_channel: bool) -> str:
        weight = self.int8_weight(index, per_channel=per_channel)
        return self.convolve(self.dequantize(levels, scale), weight, self.constant(self.biases[index]))

    def integer_sums(self, levels: str, scale: np.float16, index: int) -> str:
        """The same convolution, its sums of integers in FP16 times a power of two, all scales and the bias behind it.

        The power keeps the largest possible sum within FP16, and the smallest, 1, out of its denormal numbers.
        """
        values, scales = self.weights[index], np.float32(self.weight_scales[index])
        largest = 128 * np.abs(values.astype(np.int64)).sum((1, 2, 3)).max()
        power = 2.0 ** -max(0, math.ceil(math.log2(largest / _LARGEST_FP16)))
        weight = self.dequantize(self.constant(values), np.float16(power))
        sums = self.op(
            "Cast", self.convolve(self.dequantize(levels, np.float16(1)), weight, None), to=TensorProto.FLOAT
        )
        factors = (np.float32(scale) * scales / np.float32(power)).reshape(1, -1, 1, 1)
        bias = np.float32(self.biases[index]).reshape(1, -1, 1, 1)
        return self.op("Add", self.op("Mul", sums, self.constant(factors)), self.constant(bias))

    def fp16_convolution(self, x: str, index: int, *, unit: float = 1.0, offset: float = 0.0) -> str:
        """In FP16; the result is in units of `unit`, plus `offset`."""
        scales = np.float32(self.weight_scales[index]).reshape(-1, 1, 1, 1)
        weight = (self.weights[index] * scales / unit).astype(np.float16)
        bias = (np.float32(self.biases[index]) / unit + offset).astype(np.float16)
        return self.convolve(x, self.constant(weight), self.constant(bias))

    def clip_and_cast(self, x: str) -> str:
        """INT8 by cutting off what is behind the point, as a conversion of types does."""
        clipped = self.op("Clip", x, self.constant(np.float16(0)), self.constant(np.float16(127)))
        return self.op("Cast", clipped, to=TensorProto.INT8)


def _quantised(residual: bool, per_channel: bool) -> Callable[[_Graph], str]:
    def write(g: _Graph) -> str:
        levels = g.quantize("x", _INPUT_SCALE)
        y = g.int8_convolution(levels, _INPUT_SCALE, 0, per_channel=per_channel)
        if residual:
            y = g.op("Add", y, g.dequantize(levels, _INPUT_SCALE))
        return g.int8_convolution(g.quantize(g.op("Relu", y), _SCALE), _SCALE, 1, per_channel=per_channel)

    return write


def _sums(residual: bool) -> Callable[[_Graph], str]:
    def write(g: _Graph) -> str:
        levels = g.quantize("x", _INPUT_SCALE)
        y = g.integer_sums(levels, _INPUT_SCALE, 0)
        if residual:
            y = g.op("Add", y, g.dequantize(levels, np.float32(_INPUT_SCALE)))
        y = g.integer_sums(g.quantize(g.op("Relu", y), np.float32(_SCALE)), _SCALE, 1)
        return g.op("Cast", y, to=TensorProto.FLOAT16)

    return write


def _int8_then_cast(g: _Graph) -> str:
    y = g.int8_convolution(g.quantize("x", _INPUT_SCALE), _INPUT_SCALE, 0, per_channel=False)
    half = g.op("Add", g.op("Mul", y, g.constant(1 / _SCALE)), g.constant(np.float16(0.5)))
    return g.int8_convolution(g.clip_and_cast(half), _SCALE, 1, per_channel=False)


def _fp16_then_quantize(g: _Graph) -> str:
    levels = g.quantize(g.op("Relu", g.fp16_convolution("x", 0)), _SCALE)
    return g.int8_convolution(levels, _SCALE, 1, per_channel=False)


def _fp16_then_cast(g: _Graph) -> str:
    levels = g.clip_and_cast(g.fp16_convolution("x", 0, unit=float(_SCALE), offset=0.5))
    return g.int8_convolution(levels, _SCALE, 1, per_channel=False)


def _weights_only(g: _Graph) -> str:
    y = g.convolve("x", g.int8_weight(0, per_channel=True), g.constant(g.biases[0]))
    return g.convolve(g.op("Relu", y), g.int8_weight(1, per_channel=True), g.constant(g.biases[1]))


FORMS: dict[str, Callable[[_Graph], str]] = {
    "fp16": lambda g: g.fp16_convolution(g.op("Relu", g.fp16_convolution("x", 0)), 1),
    "per-channel": _quantised(residual=False, per_channel=True),
    "per-tensor": _quantised(residual=False, per_channel=False),
    "integer-sums": _sums(residual=False),
    "per-channel-residual": _quantised(residual=True, per_channel=True),
    "per-tensor-residual": _quantised(residual=True, per_channel=False),
    "integer-sums-residual": _sums(residual=True),
    "int8-then-cast": _int8_then_cast,
    "fp16-then-quantize": _fp16_then_quantize,
    "fp16-then-cast": _fp16_then_cast,
    "weights-only": _weights_only,
}
"""Name -> how the graph is written; all compute the same up to rounding, those with "residual" among themselves."""


def write_form(name: str, *, channels: int = _CHANNELS, size: int = _SIZE) -> onnx.ModelProto:
    """The graph of a form: FP16 `x` [batch, channels, size, size] -> FP16 `y` of the same shape."""
    graph = _Graph(channels, size)
    graph.nodes.append(helper.make_node("Identity", [FORMS[name](graph)], ["y"], name="y"))
    shape = ["batch", *graph.shape]
    values = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT16, shape) for tensor in ("x", "y")]
    made = helper.make_graph(graph.nodes, name, values[:1], values[1:], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(layers: EngineLayers) -> str:
    """Its kernels in order: `conv` and what it reads and writes, others by what they compute."""
    parts = []
    for layer in (layer for layer in layers.layers if layer.kind != "nothing"):
        what = "conv" if layer.multiplies else layer.tactic.removeprefix("__myl_").partition("_0x")[0] or layer.type
        reads = "+".join(tensor.dtype for tensor in layer.inputs) or "weights"
        parts.append(f"{what} {reads}->{layer.writes or layer.outputs[0].dtype}")
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where a form could not be built, 2 where none can."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="sm86", help="GPU to build for, e.g. sm80, sm89, sm120; default sm86")
    parser.add_argument("--folder", type=Path, default=Path("out/rtx-fusion"), help="where graphs and engines stay")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = False
    print("| form | kernels | MiB moved an image |\n|---|---|---|")
    for name in FORMS:
        file = options.folder / f"{name}.onnx"
        onnx.save(write_form(name), file)
        try:
            build = BuildOptions(onnx=file, targets=(options.target,), sanity=False, force=True)
            layers = read_program_text(build_engine(build).file)
        except (EngineBuildError, ArtifactError) as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
            continue
        except ResnetDeployError as error:  # an unknown target, no tensorrt-rtx: the same for every form
            print(error, file=sys.stderr)
            return 2
        moved = sum(layer.moved_bytes or 0 for layer in layers.layers if layer.kind != "nothing")
        print(f"| {name} | {describe(layers)} | {moved / 2**20:.2f} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
