"""Does the exported graph compute what it was made from? A quick check on two images, before a file is written.

Accuracy over a data set is `resnet-deploy validate`'s work; this one catches a broken export at once.
"""

from __future__ import annotations

__all__ = ["Parity", "parity_with_fp32", "parity_with_torch"]

from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
from torch import nn

from resnet_deploy.core.errors import ExportError
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.graph.bfloat16 import BF16_NOTE, computes_in_bf16
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session

_FP32_ROUNDOFF = 2.0**-24
_ROUNDOFF = {Precision.FP32: _FP32_ROUNDOFF, Precision.FP16: 2.0**-11, Precision.BF16: 2.0**-8}
_MOST_ROUNDING = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Largest difference of two logit arrays, relative to the largest logit.

    Attributes:
        relative_error: max|a - b| / max|b|.
        tolerance: What it may be; derived from the graph, see the functions that fill it.
        note: What ran in place of the file's own arithmetic; empty where that itself ran.
    """

    relative_error: float
    tolerance: float
    note: str = ""

    def __bool__(self) -> bool:
        return self.relative_error <= self.tolerance


def parity_with_torch(model: onnx.ModelProto, net: nn.Module, preprocess: Preprocess, *, name: str) -> Parity:
    """Compare an FP32 graph in ONNX Runtime with the module it came from, batch norms not folded.

    Tolerance: both sum the same products in another order. A sum of n terms then differs by about
    sqrt(n) roundoffs (random signs), and the L layers' errors add up in the worst case:
    L * sqrt(largest n) * 2^-24. A wrong stride, pad, epsilon or weight is orders of magnitude above it.
    A mean of softmax passes on at most twice the error of its logits: log_softmax(x) = x - logsumexp(x), and
    neither term moves more than x does; the mean over views is a weighted one. (L counts all members' layers.)

    Raises:
        ExportError: Not within the tolerance, or not finite.
    """
    images = _probe_images(preprocess)
    with torch.no_grad():
        expected = net(torch.from_numpy(images)).numpy()
    layers, largest_sum = _layers_and_largest_sum(model)
    passed_on = 2 if any(node.op_type == "LogSoftmax" for node in model.graph.node) else 1
    tolerance = passed_on * layers * largest_sum**0.5 * _FP32_ROUNDOFF
    return _compare(_logits(model, images), expected, tolerance, f"{name} and torch")


def parity_with_fp32(
    half: onnx.ModelProto,
    fp32: onnx.ModelProto,
    preprocess: Preprocess,
    *,
    name: str,
    precision: Precision = Precision.FP16,
    io: Precision = Precision.FP32,
) -> Parity:
    """Compare an FP16 or BF16 graph with the FP32 graph it was made from, both in ONNX Runtime.

    Tolerance: each of L layers rounds its weights and its output, each time by at most r of the value, 2^-11 in
    FP16 and 2^-8 in BF16; in the worst case these errors add up: 2 * L * r. An input and an output of type `io`
    add one rounding each. (Random signs give sqrt(2 * L) for trained networks; the activations of deep untrained
    ones carry a rounding on almost undamped.) For deep networks in BF16 the worst case would prove nothing: half
    of the largest logit is the most that is taken for rounding.

    Raises:
        ExportError: Not within the tolerance, or not finite (activations beyond FP16's range).
    """
    images = _probe_images(preprocess)
    layers, _ = _layers_and_largest_sum(fp32)
    tolerance = min(2 * layers * _ROUNDOFF[precision] + 2 * _ROUNDOFF[io], _MOST_ROUNDING)
    parity = _compare(_logits(half, images), _logits(fp32, images), tolerance, f"{name} and its FP32 file")
    return replace(parity, note=BF16_NOTE) if computes_in_bf16(half) else parity


def _probe_images(preprocess: Preprocess) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *preprocess.input_shape), dtype=np.float32)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = open_session(model)
    dtype = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    return session.run(["logits"], {"images": images.astype(dtype)})[0].astype(np.float32)


def _layers_and_largest_sum(model: onnx.ModelProto) -> tuple[int, int]:
    index = GraphIndex(model.graph)
    weights = [index.initializer(node.input[1]) for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return len(weights), max(int(np.prod(weight.dims[1:])) for weight in weights)


def _compare(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> Parity:
    if got.shape != expected.shape:
        raise ExportError(f"{what} give logits of different shapes: {list(got.shape)} and {list(expected.shape)}")
    if not np.isfinite(got).all():
        raise ExportError(
            f"{what}: {np.count_nonzero(~np.isfinite(got))} of {got.size} logits are NaN or infinite",
            remedy="activations overflow: take bf16 or fp32; `resnet-deploy ranges` names the tensors",
        )
    scale = float(np.abs(expected).max())
    parity = Parity(
        relative_error=float(np.abs(got - expected).max()) / scale if scale > 0 else float(np.abs(got).max()),
        tolerance=tolerance,
    )
    if not parity:
        raise ExportError(
            f"{what} disagree: the largest logit difference is {parity.relative_error:.3g} of the largest logit, "
            f"at most {tolerance:.3g} can be rounding",
            remedy="report the network and the versions in its manifest; the file was not written",
        )
    return parity
