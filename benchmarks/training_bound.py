"""What a training step can not be faster than: its convolutions at the rate of matrix products, and its memory traffic.

The rates are measured here, with as many threads as train; the work is counted on the net.
"""

from __future__ import annotations

__all__ = ["Bound", "step_bound"]

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost

_REPEATS = 8
_MATRIX = 2048
# Passes over a layer's output between two convolutions if every kernel did all that one pass can: forward, BN reads
# it for mean and variance, then BN, addition and ReLU read it and write the result; backward, the sums over the
# gradient read gradient and input, then the gradient of the input reads both and is written.
_PASSES_FUSED = 3 + 2 + 3
# PyTorch's own kernels, one after the other: the same 8, and ReLU in place reads and writes (2), and backward reads
# the gradient and its output and writes (3).
_PASSES_EAGER = _PASSES_FUSED + 5
# The addition at the end of a block: one more operand is read where it is fused, and its gradient is added to that of
# the branch (1 + 1); alone it reads two and writes one, both ways.
_BLOCK_PASSES_FUSED, _BLOCK_PASSES_EAGER = 2, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Of one step.

    Attributes:
        gflop: Of convolutions and the classifier: 2 per multiply-add, forward, for the weights, and for the inputs
            (not for the images' own gradient, which nobody needs).
        sgemm_gflop_per_s: Of a float32 matrix product on the same threads, the best of several.
        copy_gb_per_s: Read plus written, copying between tensors of the size of the first stage's outputs.
        convolutions_ms: gflop at that rate.
        elementwise_fused_ms, elementwise_eager_ms: Traffic of all that is not convolution at the copy's rate, fused
            as far as batch statistics allow, and as PyTorch's single kernels do it.
    """

    gflop: float
    sgemm_gflop_per_s: float
    copy_gb_per_s: float
    convolutions_ms: float
    elementwise_fused_ms: float
    elementwise_eager_ms: float


def step_bound(net: str, *, batch_size: int, threads: int) -> Bound:
    """Count and measure for a float32 step of a CIFAR net of basic blocks."""
    torch.set_num_threads(threads)
    layers = net_cost(find_net(net)).layers
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    gflop = 2 * batch_size * (3 * multiply_adds - layers[0].multiply_adds) / 1e9
    convs = [layer.output_elements for layer in layers if layer.kind == "conv"]
    block_ends = convs[2::2]  # the stem, then two convolutions a block
    per_element = 4 * batch_size / 1e9
    fused = per_element * (_PASSES_FUSED * sum(convs) + _BLOCK_PASSES_FUSED * sum(block_ends))
    eager = per_element * (_PASSES_EAGER * sum(convs) + _BLOCK_PASSES_EAGER * sum(block_ends))
    gflop_per_s, gb_per_s = _matrix_product_rate(), _copy_rate(batch_size * convs[0])
    return Bound(
        gflop=gflop,
        sgemm_gflop_per_s=gflop_per_s,
        copy_gb_per_s=gb_per_s,
        convolutions_ms=1000 * gflop / gflop_per_s,
        elementwise_fused_ms=1000 * fused / gb_per_s,
        elementwise_eager_ms=1000 * eager / gb_per_s,
    )


def _matrix_product_rate() -> float:
    left, right = torch.randn(_MATRIX, _MATRIX), torch.randn(_MATRIX, _MATRIX)
    product = torch.empty(_MATRIX, _MATRIX)
    return 2 * _MATRIX**3 / 1e9 / _fastest(lambda: torch.mm(left, right, out=product))


def _copy_rate(num_elements: int) -> float:
    source, target = torch.randn(num_elements), torch.empty(num_elements)
    return 2 * 4 * num_elements / 1e9 / _fastest(lambda: target.copy_(source))


def _fastest(work: Callable[[], object]) -> float:
    work()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
