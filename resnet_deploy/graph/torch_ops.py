"""ONNX operators of residual networks as differentiable PyTorch functions."""

from __future__ import annotations

__all__ = ["OPERATORS", "Attributes", "fake_quantize"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet_deploy.core.errors import GraphError

Attributes = dict[str, Any]
Operator = Callable[[Sequence[Tensor | None], Attributes], Tensor]


def fake_quantize(values: Tensor, scale: Tensor, *, low: float = -128, high: float = 127) -> Tensor:
    """clip(round_half_even(x / scale), low, high) * scale; the gradient passes the rounding as if it were not there.

    Where a value is clipped, its gradient is zero and that of the scale is the limit (Esser et al.,
    arXiv:1902.08153, equation 3).
    """
    return _RoundedSteps.apply(values, scale, 0.0, low, high) * scale


class _RoundedSteps(torch.autograd.Function):
    """clip(round_half_even(x / scale) + zero point, low, high), with the gradient of clip(x / scale + ...).

    As one operation, since with a tensor for each of its four steps training would need twice the memory and time.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: float, low: float, high: float) -> Tensor:
        rounded = (values / scale).round_()
        rounded = rounded.add_(zero_point) if zero_point else rounded
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(values, scale, (rounded >= low) & (rounded <= high))
        return rounded.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, scale, is_inside = ctx.saved_tensors
        of_values = gradient * is_inside / scale
        of_scale = -(of_values * values).sum_to_size(scale.shape) / scale if ctx.needs_input_grad[1] else None
        return of_values, of_scale, None, None, None


def _conv(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    x, weight, bias = (*inputs, None)[:3]
    spatial = weight.dim() - 2
    pads = attributes.get("pads", [0] * (2 * spatial))
    before, after = pads[:spatial], pads[spatial:]
    if list(before) != list(after):
        x = F.pad(x, _torch_pads(before, after))
        before = [0] * spatial
    return F.conv2d(
        x,
        weight,
        bias,
        stride=attributes.get("strides", [1] * spatial),
        padding=before,
        dilation=attributes.get("dilations", [1] * spatial),
        groups=attributes.get("group", 1),
    )


def _torch_pads(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """ONNX gives all begins, then all ends, from the first axis on; PyTorch pairs, from the last axis on."""
    return [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]


def _gemm(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    a, b, c = (*inputs, None)[:3]
    a = a.t() if attributes.get("transA", 0) else a
    b = b.t() if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _max_pool(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    x = F.pad(inputs[0], _torch_pads(pads[:2], pads[2:]), value=-torch.inf)
    return F.max_pool2d(
        x,
        attributes["kernel_shape"],
        stride=attributes.get("strides", [1, 1]),
        dilation=attributes.get("dilations", [1, 1]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    if list(pads[:2]) != list(pads[2:]):
        raise GraphError(
            f"an AveragePool with pads {list(pads)} can not be run in PyTorch here",
            remedy="equal pads on both sides can",
        )
    return F.avg_pool2d(
        inputs[0],
        attributes["kernel_shape"],
        stride=attributes.get("strides", [1, 1]),
        padding=pads[:2],
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _clip(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    low, high = (*inputs[1:], None, None)[:2]
    return torch.clamp(inputs[0], low, high)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def reduce(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
        axes = inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else attributes.get("axes")
        axes = list(range(inputs[0].dim())) if axes is None else axes
        return function(inputs[0], dim=axes, keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


def _reshape(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    x, shape = inputs[0], inputs[1].tolist()
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def _flatten(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    axis = attributes.get("axis", 1) % (inputs[0].dim() + 1)
    return inputs[0].reshape(inputs[0].shape[:axis].numel(), -1)


def _slice(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    x, starts, ends = inputs[:3]
    axes = inputs[3].tolist() if len(inputs) > 3 and inputs[3] is not None else list(range(starts.numel()))
    steps = inputs[4].tolist() if len(inputs) > 4 and inputs[4] is not None else [1] * starts.numel()
    index: list[slice] = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _pad(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    x, pads = inputs[0], inputs[1].tolist()
    axes = inputs[3].tolist() if len(inputs) > 3 and inputs[3] is not None else list(range(x.dim()))
    before, after = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    mode = attributes.get("mode", b"constant").decode()
    if mode != "constant":
        raise GraphError(f"a Pad with mode {mode} can not be run in PyTorch here", remedy="constant padding can")
    value = float(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else 0.0
    return F.pad(x, _torch_pads(before, after), value=value)


def _batch_norm(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    x, weight, bias, mean, variance = inputs
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=attributes.get("epsilon", 1e-5))


def _along(axis: int, scale: Tensor, dims: int) -> Tensor:
    """A per-channel scale in the shape that multiplies along `axis`."""
    return scale if scale.dim() == 0 else scale.reshape([-1 if a == axis % dims else 1 for a in range(dims)])


def _quantize(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    """The integers, or the E4M3 values, as floats; the rounding has the gradient of a straight line."""
    scale = _along(attributes.get("axis", 1), inputs[1].reshape(-1).squeeze(), inputs[0].dim())
    zero_point = inputs[2] if len(inputs) > 2 else None
    if zero_point is not None and zero_point.dtype == torch.float8_e4m3fn:
        limited = (inputs[0] / scale).clamp(-448, 448)
        return _straight_through(limited, limited.to(torch.float8_e4m3fn).float())
    return _RoundedSteps.apply(
        inputs[0], scale, 0.0 if zero_point is None else float(zero_point.reshape(-1)[0]), -128, 127
    )


def _straight_through(values: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, with the gradient of `values`."""
    return values + (rounded - values).detach() if values.requires_grad else rounded


def _dequantize(inputs: Sequence[Tensor | None], attributes: Attributes) -> Tensor:
    values, scale = inputs[0].to(inputs[1].dtype), inputs[1].reshape(-1).squeeze()
    zero_point = inputs[2] if len(inputs) > 2 else None
    if zero_point is not None and zero_point.dtype != torch.float8_e4m3fn and bool(zero_point.any()):
        values = values - zero_point.reshape(-1)[0]
    return values * _along(attributes.get("axis", 1), scale, inputs[0].dim())


OPERATORS: dict[str, Operator] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda inputs, _: inputs[0],
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), dim=attributes["axis"]),
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Exp": lambda inputs, _: inputs[0].exp(),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda inputs, _: inputs[0],
    "Log": lambda inputs, _: inputs[0].log(),
    "LogSoftmax": lambda inputs, attributes: inputs[0].log_softmax(attributes.get("axis", -1)),
    "MatMul": lambda inputs, _: inputs[0] @ inputs[1],
    "MaxPool": _max_pool,
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "Relu": lambda inputs, _: inputs[0].relu(),
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: inputs[0].softmax(attributes.get("axis", -1)),
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Sum": lambda inputs, _: sum(inputs[1:], start=inputs[0]),
}
"""By ONNX operator. Values are float32 whatever the graph's types say: a Cast changes nothing, an int8 tensor
holds whole numbers as floats."""
