"""From the counts of a comparison to everything they say."""

from __future__ import annotations

__all__ = ["paired_statistics"]

from collections.abc import Sequence

from resnet_deploy.verify.statistics.pairs import PairCounter
from resnet_deploy.verify.statistics.result import Flips, PairedStatistics
from resnet_deploy.verify.statistics.sample_size import images_needed
from resnet_deploy.verify.statistics.scores import SCORE_METHOD, decide_drop
from resnet_deploy.verify.statistics.sequential import BETTING_METHOD, SequentialTest


def paired_statistics(
    flips: Flips,
    pairs: PairCounter,
    *,
    class_names: Sequence[str],
    has_top5: bool,
    max_drop: float,
    level: float,
    prove: bool,
    sequential: SequentialTest | None,
) -> PairedStatistics:
    """All statistics of a comparison.

    Args:
        pairs: Without a single image where the images have no labels.
        class_names: Of the data set.
        max_drop: In points.
        sequential: The test that looked at every batch, whose bounds then decide; None where nobody looked.
    """
    run = sequential.result() if sequential else None
    if not pairs.num_images:
        return PairedStatistics(
            level=level,
            top1=None,
            top5=None,
            decision=None,
            flips=flips,
            class_regressions=None,
            images_needed=(),
            sequential=run,
        )
    top1 = pairs.score(1, level)
    return PairedStatistics(
        level=level,
        top1=top1,
        top5=pairs.score(5, level) if has_top5 else None,
        decision=decide_drop(
            top1,
            max_drop,
            level=level,
            prove=prove,
            bounds=sequential.drop_bounds() if sequential else None,
            method=BETTING_METHOD if sequential else SCORE_METHOD,
        ),
        flips=flips,
        class_regressions=pairs.regressions(class_names, level),
        images_needed=images_needed(
            max_drop, top1.drop, top1.num_only_reference + top1.num_only_candidate, pairs.num_images, level=level
        ),
        sequential=run,
    )
