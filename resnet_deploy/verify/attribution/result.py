"""What an attribution says: which stage of the chain lost how many points of top-1."""

from __future__ import annotations

__all__ = [
    "CAUSES",
    "Attribution",
    "ChainFile",
    "Interaction",
    "NotRun",
    "PixelAlternative",
    "Step",
    "attribution_path",
    "read_attribution",
]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import read_result
from resnet_deploy.core.specs import Precision

CAUSES = {
    "preprocessing": "the reference gets the candidate's pixels in place of its own",
    "other weights": "the reference is another network than the one the file was made from",
    "import": "the file made elsewhere becomes the FP32 ONNX file of the chain",
    "export": "PyTorch becomes the FP32 ONNX file",
    "quantisation": "Q/DQ pairs and 8-bit weights, everything around them in FP32",
    "precision conversion": "FP32 floats become FP16 or BF16",
    "refinement": "rounding and biases are refined after quantisation",
    "further training": "weights are trained after quantisation",
    "engine": "the same ONNX file, run by the backend that ships",
}
"""Cause -> what is replaced in its step. Where stages between could not be had, a step has several causes, joined
with " + "."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainFile:
    """One network of the chain, on one kind of pixels, and what it scored.

    Attributes:
        name: What steps call it: "reference", "reference, candidate's pixels", "fp32 onnx" and the like.
        made: It was not there; it was made for this measurement and removed afterwards.
        how: By which stage with which options, where it was made; else empty.
        precision: None where no manifest says it.
        top1_low, top1_high: 95 % Wilson interval of `top1_percent`.
        num_nonfinite_rows: Images for which an output was NaN or infinite.
    """

    name: str
    file: str
    sha256: str
    made: bool
    how: str
    precision: Precision | None
    backend: str
    version: str
    device: str
    num_top1_hits: int
    top1_percent: float
    top1_low: float
    top1_high: float
    num_nonfinite_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One substitution: what changed between two neighbours of the chain, on the same images.

    Attributes:
        cause: A key of `CAUSES`, or several joined with " + "; "total" for the whole chain.
        before, after: Names of `ChainFile`s.
        drop: Points of top-1 that the step loses (negative: gains) = 100 * (num_lost - num_gained) / images.
        drop_low, drop_high: Its paired 95 % interval.
        num_lost, num_gained: Images that only `before`, and that only `after` has right. Over all steps,
            num_lost - num_gained adds up to the total's, exactly.
        num_flips: Images whose top-1 class differs, right or wrong.
        agreement: Share of images with the same top-1 class.
        mcnemar_p: Two-sided mid-p value of McNemar's test of num_lost against num_gained, as in the verdict.
        sqnr_db: Of the logits of `after` against `before`, see `verify.parity.Parity`; 300 where they are equal.
        distinguishable: Whether the interval leaves 0 out. Where it does not, the step is not distinguishable from
            none on these images.
        identical: Both are the same by construction (the same pixels), so nothing was run for it.
    """

    cause: str
    before: str
    after: str
    top1_before: float
    top1_after: float
    drop: float
    drop_low: float
    drop_high: float
    num_lost: int
    num_gained: int
    num_flips: int
    agreement: float
    mcnemar_p: float
    sqnr_db: float | None
    distinguishable: bool
    identical: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Interaction:
    """How much the split depends on the order of two steps.

    Attributes:
        cause, other: The chain takes `other` first, then `cause`.
        drop_after: Points that `cause` loses after `other`, as in the chain.
        drop_first: Points that it loses where it comes first.
        points: drop_after - drop_first: so much could be booked under either.
        low, high: 95 % interval of `points` (normal, from the images' own differences).
    """

    cause: str
    other: str
    drop_after: float
    drop_first: float
    points: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NotRun:
    """A stage that the split goes on without; its part is in the next step, or missing where it is the last."""

    cause: str
    file: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelAlternative:
    """What one mistake in an application's image preparation would cost, measured on the last of `Attribution.files`.

    Attributes:
        name: Short, see `data.wrong_pixels.MISTAKES`.
        mistake: In words.
        num_changed: Images whose network input differs from the right one.
        top1_percent: With the mistake.
        drop, drop_low, drop_high: Points lost against the right pixels, with the paired 95 % interval.
        num_flips: Images whose top-1 class differs.
    """

    name: str
    mistake: str
    num_changed: int
    top1_percent: float
    drop: float
    drop_low: float
    drop_high: float
    num_flips: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """The drop of a delivered file, split by cause.

    Attributes:
        file: Where this attribution was written.
        net: Name of the network, empty where no manifest says it.
        reference, candidate: The two ends that were asked for. Where the candidate could not be run, the split ends
            at the file before it, and `not_run` says so.
        files: The chain as it was run, reference first.
        steps: One for each pair of neighbours in `files`.
        total: From the first to the last of `files`.
        interaction: Of precision conversion and quantisation; None where there are not both, or a note says why.
        largest: Cause of the step that loses most and is distinguishable from none; empty where no step is.
        sentence: The outcome in words.
        pixel_alternatives: Empty where they were not asked for.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
        skipped: It was read back because nothing had changed.
    """

    file: str
    net: str
    reference: str
    candidate: str
    data: str
    num_images: int
    files: tuple[ChainFile, ...]
    steps: tuple[Step, ...]
    total: Step
    interaction: Interaction | None
    largest: str
    sentence: str
    not_run: tuple[NotRun, ...] = ()
    notes: tuple[str, ...] = ()
    pixel_alternatives: tuple[PixelAlternative, ...] = ()
    bad_images: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: bool = False


def attribution_path(candidate: Path) -> Path:
    """`out/a.int8.engine` -> `out/a.int8.engine.attribution.json`."""
    return Path(f"{candidate}.attribution.json")


def read_attribution(file: Path) -> Attribution:
    """Read what `attribute` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Attribution, file, manifest_kind="attribution")
