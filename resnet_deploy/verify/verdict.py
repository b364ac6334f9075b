"""The verdict: does the candidate classify like the reference, on these images, within these limits?"""

from __future__ import annotations

__all__ = ["Side", "Verdict", "read_verdict", "verdict_path"]

from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.core.artifacts import read_result
from resnet_deploy.core.specs import Precision
from resnet_deploy.verify.accuracy import Accuracy
from resnet_deploy.verify.checks import Check
from resnet_deploy.verify.parity import Parity
from resnet_deploy.verify.statistics.result import PairedStatistics
from resnet_deploy.verify.thresholds import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two runners and what it scored; accuracy is None where the images have no labels."""

    file: str
    sha256: str
    backend: str
    version: str
    device: str
    precision: Precision | None
    accuracy: Accuracy | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All numbers of a comparison; true where every check passed.

    Attributes:
        file: Where this verdict was written.
        net: Name of the network, empty where no manifest says it.
        parity: Of what was compared; of several outputs, that with the lowest SQNR.
        outputs: Of every output by its name, where the two give features or maps; else empty.
        top1_drop: Points of top-1 that the candidate loses (negative: gains); None without labels.
        drop_low, drop_high: Interval of it of confidence 1 - level, from the images on which the two differ; of a
            sequential comparison, one that holds whenever it stopped.
        num_only_reference, num_only_candidate: Images that only one of the two has right.
        statistics: Tests, bounds, flips and classes; None where the outputs name no class.
        notes: What limits the verdict, e.g. a sample too small for its limit.
        bad_images: Those that could not be used, path and reason; not counted in `num_images`.
        skipped: It was read back because nothing had changed.
    """

    file: str
    net: str
    passed: bool
    reference: Side
    candidate: Side
    data: str
    num_images: int
    parity: Parity
    top1_drop: float | None
    drop_low: float | None
    drop_high: float | None
    num_only_reference: int | None
    num_only_candidate: int | None
    limits: Limits
    checks: tuple[Check, ...]
    outputs: dict[str, Parity] = field(default_factory=dict)
    statistics: PairedStatistics | None = None
    notes: tuple[str, ...] = ()
    bad_images: tuple[str, ...] = ()
    seconds: float = 0.0
    skipped: bool = False

    def __bool__(self) -> bool:
        return self.passed


def verdict_path(candidate: Path) -> Path:
    """`out/a.int8.engine` -> `out/a.int8.engine.verdict.json`: an ONNX file and its engine keep their own."""
    return Path(f"{candidate}.verdict.json")


def read_verdict(file: Path) -> Verdict:
    """Read what `validate` wrote; raises ArtifactError as `core.artifacts.read_result` does."""
    return read_result(Verdict, file, manifest_kind="verdict")
