"""Classes on which the candidate is worse, with a correction for having looked at all of them."""

from __future__ import annotations

__all__ = ["class_regressions"]

from collections.abc import Sequence

import numpy as np

from resnet_deploy.core.metrics import holm
from resnet_deploy.verify.statistics.result import ClassRegression, ClassRegressions

_LISTED = 10


def class_regressions(
    names: Sequence[str], images: np.ndarray, lost: np.ndarray, won: np.ndarray, *, level: float
) -> ClassRegressions:
    """Test every class that has an image, by McNemar's exact one-sided test, and correct by Holm.

    The exact test, not mid-p: it never rejects more often than it says, so neither does the family of all classes.

    Args:
        names: Of the K classes.
        images, lost, won: [K] images, those only the reference has right, those only the candidate has right.
    """
    from scipy.stats import binom

    tested = np.flatnonzero(images)
    p = np.asarray(binom.sf(lost[tested] - 1, lost[tested] + won[tested], 0.5), dtype=np.float64)
    adjusted = holm(p)
    found = [
        ClassRegression(
            name=names[k],
            num_images=int(images[k]),
            num_only_reference=int(lost[k]),
            num_only_candidate=int(won[k]),
            drop=100 * float(lost[k] - won[k]) / int(images[k]),
            p=float(p[i]),
            p_holm=float(adjusted[i]),
            significant=bool(adjusted[i] < level),
        )
        for i, k in enumerate(tested)
        if lost[k] > won[k]
    ]
    found.sort(key=lambda one: (one.p, -one.drop))
    num_significant = sum(one.significant for one in found)
    worst = tuple(found[: max(_LISTED, num_significant)])
    return ClassRegressions(num_tested=len(tested), num_significant=num_significant, worst=worst)
