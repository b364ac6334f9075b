"""From what was counted to the verdict: statistics, checks and notes put together."""

from __future__ import annotations

__all__ = ["judge", "side_of"]

import math

from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.verify.accuracy import Accuracy
from resnet_deploy.verify.checks import verdict_checks
from resnet_deploy.verify.comparison import Comparison
from resnet_deploy.verify.statistics.result import PairedScore
from resnet_deploy.verify.statistics.sequential import SequentialTest
from resnet_deploy.verify.statistics.summary import paired_statistics
from resnet_deploy.verify.subject import Subject
from resnet_deploy.verify.thresholds import Limits
from resnet_deploy.verify.verdict import Side, Verdict
from resnet_deploy.verify.verdict_notes import verdict_notes


def judge(
    comparison: Comparison,
    sides: tuple[Side, Side],
    limits: Limits,
    *,
    level: float,
    prove: bool = False,
    sequential: SequentialTest | None = None,
    same_pixels: bool = True,
) -> Verdict:
    """The verdict on what was compared, without the name of the file it will be written to.

    Args:
        sides: Reference and candidate.
        level, prove: As in `verify.validate.ValidateOptions`.
        sequential: The test that looked after every batch; None where nobody looked.
        same_pixels: Both networks prepare images alike.
    """
    parities = comparison.parities()
    parity = min(parities.values(), key=lambda found: -math.inf if found.sqnr_db is None else found.sqnr_db)
    flips = comparison.flips(level)
    statistics = flips and paired_statistics(
        flips,
        comparison.pairs,
        class_names=comparison.source.classes,
        has_top5=comparison.has_top5,
        max_drop=limits.max_top1_drop,
        level=level,
        prove=prove,
        sequential=sequential,
    )
    decision = statistics.decision if statistics else None
    drop, low, high, lost, won = _drop_of(statistics and statistics.top1, sequential)
    decides, reference = comparison.decides, sides[0].accuracy
    checks = verdict_checks(parities, limits, decides=decides, reference=reference, drop=drop, decision=decision)
    notes = verdict_notes(
        statistics,
        limits,
        num_images=parity.num_rows,
        unlabelled=comparison.unlabelled,
        same_pixels=same_pixels,
        remarks=comparison.remarks(),
    )
    return Verdict(
        file="",
        net=comparison.net,
        passed=all(check.passed for check in checks),
        reference=sides[0],
        candidate=sides[1],
        data=comparison.source.description,
        num_images=parity.num_rows,
        parity=parity,
        top1_drop=drop,
        drop_low=low,
        drop_high=high,
        num_only_reference=lost,
        num_only_candidate=won,
        limits=limits,
        checks=checks,
        outputs={} if decides else parities,
        statistics=statistics,
        notes=tuple(notes),
    )


def _drop_of(top1: PairedScore | None, sequential: SequentialTest | None) -> tuple:
    """The drop, its two-sided interval, and the images that only one side has right; None of each without labels."""
    if top1 is None:
        return None, None, None, None, None
    low, high = sequential.drop_interval() if sequential else (top1.drop_low, top1.drop_high)
    return top1.drop, low, high, top1.num_only_reference, top1.num_only_candidate


def side_of(subject: Subject, info: RunnerInfo, accuracy: Accuracy | None) -> Side:
    """What a verdict says of one of the two; accuracy is None where the images have no labels."""
    manifest = subject.manifest
    precision = manifest.precision if manifest else None
    if precision is None and manifest is not None and manifest.kind == "checkpoint":
        precision = Precision.FP32
    return Side(
        file=str(subject.file),
        sha256=manifest.sha256 if manifest else sha256_of_file(subject.file),
        backend=info.backend,
        version=info.version,
        device=info.device,
        precision=precision,
        accuracy=accuracy,
    )
