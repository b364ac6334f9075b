"""The result of `diverge`: how far apart two networks are, layer by layer, and which layer is the first at fault."""

from __future__ import annotations

__all__ = ["ComparedFile", "Divergence", "LayerDivergence", "TensorError", "divergence_path", "read_divergence"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import read_result
from resnet_deploy.core.specs import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorError:
    """One tensor of the candidate against the same tensor of the reference, over all images.

    Attributes:
        sqnr_db: 10 log10(sum reference^2 / sum (candidate - reference)^2) over the values that are finite in both,
            kept within +-300 (equal tensors have 300); None where there is no such value.
        cosine: Of the two taken as one long vector; blind to a factor; None as above.
        gain: Least-squares factor from reference to candidate, 1 where nothing was scaled; None where the reference
            is 0 everywhere.
        max_abs_error: Largest |candidate - reference|; None as above.
        differing_share: Of all values, those that are further off than `Divergence.limit_db` under the tensor's root
            mean square in their batch, or not finite; 0 to 1.
        num_nonfinite: NaN and infinite values of the candidate where the reference is finite.
    """

    sqnr_db: float | None
    cosine: float | None
    gain: float | None
    max_abs_error: float | None
    differing_share: float
    num_nonfinite: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDivergence:
    """One layer: a computing node with the ReLU behind it, and the nodes that only move or convert values before it.

    Attributes:
        layer: Name of the reference's node; what `quantize --exclude` takes.
        op_type: Of that node.
        block: "stem", "layer1.0" ..., "fc".
        tensor: The reference's tensor that was compared, behind the ReLU if there is one.
        is_quantized: Whether the candidate computes it from rounded (Q/DQ) tensors or weights.
        accumulated: In the whole candidate: what came in as well as what the layer adds.
        introduced: With the reference's tensors put in at the layer's inputs: what the layer itself adds.
        explained_db: SQNR of the introduced error if every activation scale of the layer were max|x| / 127 of what is
            given (448 in FP8), which is what its bits can do; None where nothing is quantised, and where the images are
            noise, for which no scale was made.
        reason: Why the introduced error is more than the precision explains; empty where it is not.
    """

    layer: str
    op_type: str
    block: str
    tensor: str
    is_quantized: bool
    accumulated: TensorError
    introduced: TensorError
    explained_db: float | None = None
    reason: str = ""

    @property
    def is_divergent(self) -> bool:
        """Whether the layer itself is at fault."""
        return bool(self.reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFile:
    """One of the two: the file that was named, the graph whose tensors were read, and what ran it.

    Attributes:
        onnx: Name of the ONNX file whose tensors were marked: the file itself, or what it was built or made from.
    """

    file: str
    sha256: str
    onnx: str
    backend: str
    version: str
    device: str
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """Two networks layer by layer; true where no layer is at fault.

    Attributes:
        file: Where this result was written.
        net: Name of the network, empty where no manifest says it.
        images: What was fed, in words.
        limit_db: A layer whose introduced error has an SQNR under this is at fault; follows from the candidate's
            precision, see `verify.faults.divergence_rule`.
        layers: In the graph's order.
        first: Name of the first layer at fault; None where none is.
        output: The candidate's output as it is, without marks, against the reference's.
        marked_output_db: SQNR of the candidate's output with marks against that without, 300 where equal: marked
            tensors can not be fused away, so a lower figure means that another program was looked at.
        uncompared: Layers of the reference whose tensor the candidate does not have; each is judged with the next.
        notes: What limits the result.
        skipped: It was read back because nothing had changed.
    """

    file: str
    net: str
    reference: ComparedFile
    candidate: ComparedFile
    images: str
    num_images: int
    limit_db: float
    layers: tuple[LayerDivergence, ...]
    first: str | None
    output: TensorError
    marked_output_db: float | None
    uncompared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: bool = False

    def __bool__(self) -> bool:
        return self.first is None

    @property
    def at_fault(self) -> tuple[LayerDivergence, ...]:
        """All layers whose own error is too large, in the graph's order."""
        return tuple(layer for layer in self.layers if layer.is_divergent)


def divergence_path(candidate: Path) -> Path:
    """`out/a.int8.onnx` -> `out/a.int8.onnx.divergence.json`."""
    return Path(f"{candidate}.divergence.json")


def read_divergence(file: Path) -> Divergence:
    """Read what `diverge` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Divergence, file, manifest_kind="divergence")
