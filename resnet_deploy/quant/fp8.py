"""What runs in FP8 (E4M3): the rules of INT8 that TensorRT has FP8 kernels for, less NVIDIA's exclusions.

Only Conv, Gemm and the residual addition; the pools stay in floating point. A convolution of more than 32 taps
(the 7x7 stem) or with at most 16 input or output channels stays there too: FP8's tensor-core kernels do not pay
for it.

Source: NVIDIA Model Optimizer 0.47, ONNX FP8 quantisation (its operator list, `_MIN_CHANNELS_FP8`, kernel area).
"""

from __future__ import annotations

__all__ = ["FP8_RULES", "Fp8MatrixProductRule", "Fp8ResidualAddRule"]

from collections.abc import Iterable

import numpy as np
import onnx

from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.quant.placement import (
    MatrixProductRule,
    QuantizedRead,
    Refusal,
    ResidualAddRule,
    Rule,
    WeightUse,
)

_MOST_TAPS = 32
_FEWEST_CHANNELS = 17


class Fp8MatrixProductRule:
    """`MatrixProductRule`, less the convolutions that FP8 does not pay for."""

    name = MatrixProductRule.name
    _all = MatrixProductRule()

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Refusal | Iterable[QuantizedRead | WeightUse] | None:
        answer = self._all.check(graph, node)
        if answer is None or isinstance(answer, Refusal) or node.op_type != "Conv":
            return answer
        reason = _exclusion(graph.initializer(node.input[1]))
        return (
            answer if reason is None else Refusal(node=node.name, tensor=node.input[0], rule=self.name, reason=reason)
        )


class Fp8ResidualAddRule:
    """`ResidualAddRule`, where the convolution that TensorRT would fuse with the addition is in FP8 itself.

    Beside a convolution in floating point a pair on the shortcut would only round it.
    """

    name = ResidualAddRule.name
    _all = ResidualAddRule()
    _product = Fp8MatrixProductRule()

    def check(self, graph: GraphIndex, node: onnx.NodeProto) -> Refusal | Iterable[QuantizedRead] | None:
        answer = self._all.check(graph, node)
        if answer is None or isinstance(answer, Refusal):
            return answer
        shortcut = next(read.position for read in answer if read.node == node.name)
        beside = graph.producer(node.input[1 - shortcut], "Conv")
        refused = None if beside is None else self._product.check(graph, beside)
        if not isinstance(refused, Refusal):
            return answer
        reason = f"{beside.name}, which it would fuse with, stays in floating point"
        return Refusal(node=node.name, tensor=node.input[shortcut], rule=self.name, reason=reason)


def _exclusion(weight: onnx.TensorProto) -> str | None:
    """Why a convolution with this weight [K, C / groups, ...] stays in floating point; None where it does not."""
    outputs, inputs, *kernel = weight.dims
    taps = int(np.prod(kernel))
    if taps > _MOST_TAPS:
        return f"FP8: a kernel of {'x'.join(map(str, kernel))} has {taps} taps, more than {_MOST_TAPS}"
    for channels, which in ((inputs, "input"), (outputs, "output")):
        if channels < _FEWEST_CHANNELS:
            return f"FP8: {channels} {which} channels, fewer than {_FEWEST_CHANNELS}"
    return None


FP8_RULES: tuple[Rule, ...] = (Fp8MatrixProductRule(), Fp8ResidualAddRule())
