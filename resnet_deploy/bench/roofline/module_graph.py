"""The operations of a catalogue network, traced without weights and without memory (PyTorch's meta device)."""

from __future__ import annotations

__all__ = ["operations_of_module", "operations_of_net"]

import functools
import math
from typing import Any

import torch
from torch import fx, nn

from resnet_deploy.bench.roofline.operations import Operation, OperationGraph, Value, Weight, values_touched
from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.nets.catalogue import build_net, find_net

_MODULES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (nn.Conv2d, "conv"),
    (nn.Linear, "linear"),
    ((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), "pool"),
    ((nn.BatchNorm2d, nn.ReLU), "pointwise"),
    ((nn.Identity, nn.Dropout, nn.Flatten), "view"),
)
_FUNCTIONS = {
    "relu": "pointwise", "add": "add", "iadd": "add", "pad": "view", "getitem": "view", "flatten": "view",
}  # fmt: skip
_CHANGES_SHAPE = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_KEEPS_SHAPE = (nn.Identity, nn.Dropout)


@functools.cache
def operations_of_net(name: str, *, size_px: int | None = None) -> OperationGraph:
    """The operations of a catalogue network in FP32.

    Args:
        size_px: Side of the square image; None takes the network's own.
    Raises:
        ConfigError: Unknown network, or an image too small for it.
    """
    spec = find_net(name)
    side = spec.preprocess.height_px if size_px is None else size_px
    with torch.device("meta"):
        net = build_net(spec).eval()
    try:
        return operations_of_module(net, size_px=side)
    except RuntimeError as error:
        raise ConfigError(
            f"{spec.name} can not take an image of {side} x {side} px: {str(error).splitlines()[0]}",
            remedy=f"its usual side is {spec.preprocess.height_px} px",
        ) from error


def operations_of_module(net: nn.Module, *, size_px: int) -> OperationGraph:
    """Trace a network on the meta device, BN folded into the convolutions.

    Raises:
        GraphError: It does something that no network of the catalogue does.
        RuntimeError: PyTorch's own, where the image is too small.
    """
    image = torch.empty(1, 3, size_px, size_px, device="meta")
    recorder = _Recorder(fx.symbolic_trace(net))
    with torch.no_grad():
        recorder.run(image)
    operations = tuple(recorder.operations)
    last = operations[-1]
    return OperationGraph(
        operations=operations,
        inputs={"images": Value(elements=image.numel(), type="float32")},
        outputs={last.output: last.value},
        height_px=size_px,
        width_px=size_px,
    )


class _Recorder(fx.Interpreter):
    """Runs the traced module and notes every step.

    Of most steps only the shape is computed, by hand: without memory they make PyTorch load its compiler and SymPy,
    which takes longer than all the rest.
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.operations: list[Operation] = []

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("placeholder", "output"):
            return super().run_node(n)
        module = self.fetch_attr(n.target) if n.op == "call_module" else None
        kind = _kind(n, module)
        if isinstance(module, _CHANGES_SHAPE):
            result = torch.empty(_result_shape(module, self.env[n.args[0]]), device="meta")
        elif isinstance(module, _KEEPS_SHAPE) or kind in ("pointwise", "add"):
            result = self.env[n.args[0]]
        else:
            result = super().run_node(n)
        if isinstance(module, nn.AdaptiveAvgPool2d) and result.shape == self.env[n.args[0]].shape:
            kind = "view"  # VGG's, at its usual size
        self.operations.append(
            Operation(
                kind=kind,
                name=n.target if module is not None else n.name,
                inputs=tuple(_tensor_name(arg) for arg in n.args if isinstance(arg, fx.Node)),
                output=n.name,
                value=Value(elements=result.numel(), type="float32"),
                weights=_weights(module),
                multiply_adds=_multiply_adds(module, result),
                num_read=_num_read(module, result),
            )
        )
        return result


def _result_shape(module: nn.Module, x: torch.Tensor) -> tuple[int, ...]:
    """Of a layer that changes the shape; raises RuntimeError, as PyTorch does, where nothing is left."""
    if isinstance(module, nn.Linear):
        return (*x.shape[:-1], module.out_features)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return (*x.shape[:2], *_both(module.output_size))
    channels = module.out_channels if isinstance(module, nn.Conv2d) else x.shape[1]
    attributes = (module.padding, getattr(module, "dilation", 1), module.kernel_size, module.stride)
    ceil = getattr(module, "ceil_mode", False)
    windows = zip(x.shape[2:], *map(_both, attributes), strict=True)
    sides = tuple(_num_windows(*window, ceil=ceil) for window in windows)
    if min(sides) < 1:
        raise RuntimeError(f"a layer with a window of {module.kernel_size} gets {tuple(x.shape[2:])} px")
    return (x.shape[0], channels, *sides)


def _num_windows(size: int, padding: int, dilation: int, kernel: int, stride: int, *, ceil: bool) -> int:
    """Results along one axis (torch.nn.Conv2d, MaxPool2d: "Shape"); with `ceil` a window may end outside."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return room // stride + 1
    number = -(-room // stride) + 1
    return number - 1 if (number - 1) * stride >= size + padding else number  # none may begin in the padding


def _both(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _kind(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        kind = next((kind for types, kind in _MODULES if isinstance(module, types)), None)
    else:
        kind = _FUNCTIONS.get(node.target if isinstance(node.target, str) else node.target.__name__)
    if kind is None:
        what = node.target if module is None else f"{node.target} ({type(module).__name__})"
        raise GraphError(f"{what}: an operation that the roofline does not know", remedy="estimate its ONNX file")
    return kind


def _tensor_name(node: fx.Node) -> str:
    return "images" if node.op == "placeholder" else node.name


def _weights(module: nn.Module | None) -> tuple[Weight, ...]:
    """Of a convolution with the bias that folding gives it."""
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return ()
    channels = module.weight.shape[0]
    weight = Weight(elements=module.weight.numel(), type="float32")
    return (weight, Weight(elements=channels, type="float32", is_bias=True))


def _num_read(module: nn.Module | None, result: torch.Tensor) -> int | None:
    """All that the windows of a convolution touch, where its stride jumps over some values."""
    if not isinstance(module, nn.Conv2d):
        return None
    return values_touched(module.in_channels, module.kernel_size, module.stride, result.shape[2:])


def _multiply_adds(module: nn.Module | None, result: torch.Tensor) -> int:
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return 0
    return result.numel() * math.prod(module.weight.shape[1:])
