"""Does the exported graph compute what it was made from? A quick check on two images, before a file is written.

Accuracy over a data set is `resnet-deploy validate`'s work; this one catches a broken export at once.
"""

from __future__ import annotations

__all__ = ["Parity", "parity_with_fp32", "parity_with_torch"]

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import nn

from resnet_deploy.core.errors import ExportError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session

_FP32_ROUNDOFF = 2.0**-24
_FP16_ROUNDOFF = 2.0**-11


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Largest difference of two logit arrays, relative to the largest logit.

    Attributes:
        relative_error: max|a - b| / max|b|.
        tolerance: What it may be; derived from the graph, see the functions that fill it.
    """

    relative_error: float
    tolerance: float

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


def parity_with_fp32(fp16: onnx.ModelProto, fp32: onnx.ModelProto, preprocess: Preprocess, *, name: str) -> Parity:
    """Compare an FP16 graph with the FP32 graph it was made from, both in ONNX Runtime.

    Tolerance: each of L layers rounds its weights and its output to FP16, each time by at most 2^-11 of the
    value; in the worst case these errors add up: 2 * L * 2^-11. (Random signs give sqrt(2 * L) for trained
    networks; the activations of deep untrained ones carry a rounding on almost undamped.)

    Raises:
        ExportError: Not within the tolerance, or not finite (activations beyond FP16's range).
    """
    images = _probe_images(preprocess)
    layers, _ = _layers_and_largest_sum(fp32)
    return _compare(
        _logits(fp16, images), _logits(fp32, images), 2 * layers * _FP16_ROUNDOFF, f"{name} and its FP32 file"
    )


def _probe_images(preprocess: Preprocess) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *preprocess.input_shape), dtype=np.float32)


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return open_session(model).run(["logits"], {"images": images})[0]


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
            remedy="activations overflow; take fp32, or check the weights",
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
