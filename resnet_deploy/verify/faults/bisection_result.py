"""The result of `bisect`: the fewest layers that must come from the reference for the candidate to hold its limits."""

from __future__ import annotations

__all__ = ["Bisection", "Evaluation", "bisection_path", "read_bisection"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import read_result
from resnet_deploy.core.score import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One hybrid that was scored.

    Attributes:
        phase: "block" or "layer".
        replaced: Names of the blocks, or layers, that came from the reference.
        passed: Whether its score is within the limit.
    """

    phase: str
    replaced: tuple[str, ...]
    score: Score
    passed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Bisection:
    """What was found; true where the candidate with `layers` taken from the reference is within the limit.

    Attributes:
        file: Where this result was written.
        net: Name of the network, empty where no manifest says it.
        reference, candidate: The files.
        images: What was scored on, in words.
        metric: "agreement" (share of images with the reference's class) or "top1" (points of top-1 lost).
        limit: Smallest agreement, or largest drop in points.
        candidate_score: As it is; nothing is searched where this is within the limit.
        blocks: The blocks in which the layers are.
        layers: Names as `quantize --exclude` takes them; irreducible: leave one out and the limit is not held.
        hybrid_score: Of the candidate with `layers` taken from the reference.
        met: Whether `hybrid_score` is within the limit.
        is_irreducible: False where the search was cut short by `max_evaluations`; `layers` then may hold too many.
        num_units: How many blocks and layers there were to choose from.
        num_evaluations: Hybrids scored, those that an interrupted run had left included; `num_reused` of them.
        evaluations: All of them, in order.
        requantized, requantized_score: The file that was really quantised anew without `layers`, and its score;
            empty and None where that could not be done (`notes` says why).
        skipped: It was read back because nothing had changed.
    """

    file: str
    net: str
    reference: str
    candidate: str
    images: str
    num_images: int
    metric: str
    limit: float
    candidate_score: Score
    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    hybrid_score: Score
    met: bool
    is_irreducible: bool
    num_units: dict[str, int]
    num_evaluations: int
    num_reused: int
    evaluations: tuple[Evaluation, ...]
    requantized: str = ""
    requantized_score: Score | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: bool = False

    def __bool__(self) -> bool:
        return self.met


def bisection_path(candidate: Path) -> Path:
    """`out/a.int8.onnx` -> `out/a.int8.onnx.bisection.json`."""
    return Path(f"{candidate}.bisection.json")


def read_bisection(file: Path) -> Bisection:
    """Read what `bisect` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Bisection, file, manifest_kind="bisection")
