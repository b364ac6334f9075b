"""Does a normalised network compute what the original does? Both in ONNX Runtime, on the same random images."""

from __future__ import annotations

__all__ = ["OnnxParity", "compare_graphs"]

from dataclasses import dataclass

import numpy as np
import onnx

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.normalise_onnx import Normalised
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session

_FP32_ROUNDOFF = 2.0**-24
_NUM_IMAGES = 2  # or the batch that the original insists on


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxParity:
    """Outcome of a comparison.

    Attributes:
        compared: "logits", or "probabilities" where the original ends in softmax.
        max_abs_difference: max|imported - original|.
        relative_error: The same over max|original|; this is what the tolerance limits.
        num_same_top1: Images whose largest entry is the same class, of `num_images`.
    """

    compared: str
    num_images: int
    max_abs_difference: float
    relative_error: float
    tolerance: float
    num_same_top1: int

    @property
    def passed(self) -> bool:
        """Within the tolerance, and finite."""
        return self.relative_error <= self.tolerance


def compare_graphs(
    normal: onnx.ModelProto, original: onnx.ModelProto, preprocess: Preprocess, report: Normalised
) -> OnnxParity:
    """Run both on normal noise and compare.

    Tolerance: a sum of n terms in another order differs by about sqrt(n) roundoffs; the folded weight, the bias and
    the normalisation that it replaces are rounded once each, three more. The L layers' errors add up in the worst
    case: L * (sqrt(largest n) + 3) * 2^-24 of the largest logit. Softmax of logits that are off by d is off by at
    most d / 2 absolute, of a largest probability that is at least 1 / K: relative d * K / 2.

    Raises:
        GraphError: ONNX Runtime can not load one of them.
    """
    batch = _original_batch(original)
    num_images = max(_NUM_IMAGES, batch)
    images = np.random.default_rng(0).standard_normal((num_images, *preprocess.input_shape), dtype=np.float32)
    expected = _run(original, report.output, report.input, images, batch)
    logits = _run(normal, "logits", "images", images, report.batch or 0)
    tolerance = _tolerance(normal)
    compared, got = "logits", logits
    if report.softmax:
        # log-probabilities and probabilities are told apart by their sign
        logs = logits - logits.max(axis=1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        is_log = bool((expected <= 0).all())
        compared, got = ("log-probabilities", logs) if is_log else ("probabilities", np.exp(logs))
        tolerance *= float(np.abs(logits).max()) * (2 if is_log else 0.5) / float(np.abs(expected).max())
        tolerance += 4 * _FP32_ROUNDOFF
    expected = expected.reshape(got.shape)
    largest = float(np.abs(expected).max())
    difference = float(np.abs(got - expected).max())
    relative = difference / largest if largest > 0 else float(np.abs(got).max())
    return OnnxParity(
        compared=compared,
        num_images=len(images),
        max_abs_difference=difference,
        relative_error=relative,
        tolerance=tolerance,
        num_same_top1=int((got.argmax(axis=1) == expected.argmax(axis=1)).sum()),
    )


def _run(model: onnx.ModelProto, output: str, input: str, images: np.ndarray, batch: int) -> np.ndarray:
    """The output for all images, `batch` at a time; 0 gives them all at once, which shows that rows do not mix."""
    session, step = open_session(model), batch or len(images)
    parts = [session.run([output], {input: images[i : i + step]})[0] for i in range(0, len(images), step)]
    return np.concatenate(parts).astype(np.float64)


def _original_batch(model: onnx.ModelProto) -> int:
    constants = {tensor.name for tensor in model.graph.initializer}
    image = next(value for value in model.graph.input if value.name not in constants)
    return image.type.tensor_type.shape.dim[0].dim_value


def _tolerance(model: onnx.ModelProto) -> float:
    index = GraphIndex(model.graph)
    sums = [
        int(np.prod(index.initializer(node.input[1]).dims[1:]))
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and index.is_constant(node.input[1])
    ]
    return max(len(sums), 1) * (max(sums, default=1) ** 0.5 + 3) * _FP32_ROUNDOFF
