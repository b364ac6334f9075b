"""Does the exported graph compute what it was made from? A quick check on two images, before a file is written.

Accuracy over a data set is `resnet-deploy validate`'s work; this one catches a broken export at once.
"""

from __future__ import annotations

__all__ = ["Parity", "parity_with_fp32", "parity_with_torch"]

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
import torch
from torch import nn

from resnet_deploy.core.errors import ExportError
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.graph.bfloat16 import BF16_NOTE, computes_in_bf16
from resnet_deploy.graph.free_axes import fixed_batch
from resnet_deploy.graph.head import append_softmax, take_off_head
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session

_FP32_ROUNDOFF = 2.0**-24
_ROUNDOFF = {Precision.FP32: _FP32_ROUNDOFF, Precision.FP16: 2.0**-11, Precision.BF16: 2.0**-8}
_SMALLEST = {_FP32_ROUNDOFF: 2.0**-126, 2.0**-11: 2.0**-14, 2.0**-8: 2.0**-126}
"""Smallest number with full precision, by roundoff; below it a logarithm moves by more than the roundoff."""

_MOST_ROUNDING = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Largest difference of two arrays of outputs, relative to the largest output.

    Attributes:
        relative_error: max|a - b| / max|b|; of several outputs, the largest. Probabilities are compared by their
            logarithms.
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
    A softmax, or a mean of several, passes on at most twice the error of its logits: log_softmax(x) = x -
    logsumexp(x), and neither term moves more than x does; the mean over views is a weighted one. (L counts all
    members' layers.)

    Args:
        net: Gives what `model` gives, in the order of its outputs; where that is the best classes, all probabilities.
    Raises:
        ExportError: Not within the tolerance, or not finite.
    """
    images = _probe_images(model, preprocess)
    with torch.no_grad():
        given = net(torch.from_numpy(images))
    arrays = [tensor.numpy() for tensor in (given if isinstance(given, tuple) else (given,))]
    got = _outputs(model, images)
    names = ["probabilities"] if "classes" in got else list(got)
    expected = dict(zip(names, arrays, strict=True))
    layers, largest_sum = _layers_and_largest_sum(model)
    passed_on = 2 if any(node.op_type in ("LogSoftmax", "Softmax") for node in model.graph.node) else 1
    tolerance = passed_on * layers * largest_sum**0.5 * _FP32_ROUNDOFF
    return _compare(got, expected, tolerance, f"{name} and torch")


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
    FP16 and 2^-8 in BF16; in the worst case these errors add up: 2 * L * r, and twice that behind a softmax (see
    `parity_with_torch`). An input and an output of type `io` add one rounding each; the logarithm of a probability
    that is rounded moves by no more than its value does. (Random signs give sqrt(2 * L) for trained networks;
    the activations of deep untrained ones carry a rounding on almost undamped.) For deep networks in BF16 the
    worst case would prove nothing: half of the largest logit is the most that is taken for rounding.

    Raises:
        ExportError: Not within the tolerance, or not finite (activations beyond FP16's range).
    """
    images = _probe_images(fp32, preprocess)
    layers, _ = _layers_and_largest_sum(fp32)
    passed_on = 2 if any(value.name in ("probabilities", "scores") for value in fp32.graph.output) else 1
    tolerance = min(2 * passed_on * layers * _ROUNDOFF[precision] + 2 * _ROUNDOFF[io], _MOST_ROUNDING)
    expected = _outputs(_with_all_probabilities(fp32), images)
    parity = _compare(_outputs(half, images), expected, tolerance, f"{name} and its FP32 file", edge=_ROUNDOFF[io])
    return replace(parity, note=BF16_NOTE) if computes_in_bf16(half) else parity


def _probe_images(model: onnx.ModelProto, preprocess: Preprocess) -> np.ndarray:
    count = fixed_batch(model) or 2
    return np.random.default_rng(0).standard_normal((count, *preprocess.input_shape), dtype=np.float32)


def _outputs(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """All outputs by name; floats as float32."""
    session = open_session(model)
    dtype = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    names = [value.name for value in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"images": images.astype(dtype)}), strict=True))
    return {
        name: value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value
        for name, value in found.items()
    }


def _with_all_probabilities(fp32: onnx.ModelProto) -> onnx.ModelProto:
    """Where the graph gives the best classes alone, a copy that gives the probabilities they were chosen from."""
    if all(value.name != "classes" for value in fp32.graph.output):
        return fp32
    result = onnx.ModelProto()
    result.CopyFrom(fp32)
    take_off_head(result)
    append_softmax(result)
    return result


def _layers_and_largest_sum(model: onnx.ModelProto) -> tuple[int, int]:
    index = GraphIndex(model.graph)
    weights = [index.initializer(node.input[1]) for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return len(weights), max(int(np.prod(weight.dims[1:])) for weight in weights)


def _compare(
    got: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    tolerance: float,
    what: str,
    *,
    edge: float = _FP32_ROUNDOFF,
) -> Parity:
    """The worst of all outputs.

    Args:
        edge: Roundoff of the outputs' type.
    """
    as_logarithms = partial(_logarithm, edge=edge)
    if "classes" in got:
        scale = float(np.abs(as_logarithms(expected["probabilities"])).max())
        pairs = _best_classes(got["scores"], got["classes"], expected["probabilities"], what)
        errors = {name: _error(*map(as_logarithms, pair), what, name, scale) for name, pair in pairs.items()}
    elif "probabilities" in got:
        name = "probabilities"
        errors = {name: _error(as_logarithms(got[name]), as_logarithms(expected[name]), what, name)}
    else:
        errors = {name: _error(got[name], expected[name], what, name) for name in expected}
    name, worst = max(errors.items(), key=lambda item: item[1])
    parity = Parity(relative_error=worst, tolerance=tolerance)
    if not parity:
        raise ExportError(
            f"{what} disagree: the largest difference of {name} is {worst:.3g} of the largest value, "
            f"at most {tolerance:.3g} can be rounding",
            remedy="report the network and the versions in its manifest; the file was not written",
        )
    return parity


def _best_classes(
    scores: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, what: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores against the largest probabilities, and against those of the classes that are named.

    Both must hold: of classes whose probabilities are equal but for rounding, any may come first.
    """
    rows, k = classes.shape
    distinct = all(len(set(row)) == k for row in classes.tolist())
    if len(probabilities) != rows or not distinct or classes.min() < 0 or classes.max() >= probabilities.shape[1]:
        raise ExportError(
            f"{what}: the best classes are {classes.tolist()}, expected {len(probabilities)} rows of {k} different "
            f"ones below {probabilities.shape[1]}"
        )
    largest = -np.sort(-probabilities, axis=1)[:, :k]
    return {"scores": (scores, largest), "classes": (scores, np.take_along_axis(probabilities, classes, axis=1))}


def _logarithm(probabilities: np.ndarray, edge: float) -> np.ndarray:
    """NaN for what is no probability; those that the type of the output can not tell from 0 are all the same."""
    smallest = _SMALLEST[edge]
    with np.errstate(invalid="ignore"):
        return np.log(np.where(probabilities < 0, np.nan, np.maximum(probabilities, smallest)))


def _error(got: np.ndarray, expected: np.ndarray, what: str, name: str, scale: float | None = None) -> float:
    """max|got - expected| / max|expected|, or `scale` in place of the latter."""
    if got.shape != expected.shape:
        raise ExportError(f"{what} give {name} of different shapes: {list(got.shape)} and {list(expected.shape)}")
    if not np.isfinite(got).all():
        raise ExportError(
            f"{what}: {np.count_nonzero(~np.isfinite(got))} of {got.size} {name} are NaN or infinite",
            remedy="activations overflow: take bf16 or fp32; `resnet-deploy ranges` names the tensors",
        )
    scale = float(np.abs(expected).max()) if scale is None else scale
    error = float(np.abs(got - expected).max())
    return error / scale if scale > 0 else error
