"""A comparison that ends as soon as it is certain: bounds of drop and agreement, taken after every batch."""

from __future__ import annotations

__all__ = ["BETTING_METHOD", "SequentialTest", "random_order"]

import math
from collections.abc import Sequence

import numpy as np

from resnet_deploy.verify.statistics.betting import log_wealth, lower_bound, upper_bound
from resnet_deploy.verify.statistics.result import SequentialRun

BETTING_METHOD = "betting confidence sequence (Waudby-Smith and Ramdas 2024)"
_DROPS, _FLIPS = (-1.0, 0.0, 1.0), (0.0, 1.0)


def random_order(count: int, seed: int) -> np.ndarray:
    """[N] a random order of all images; the same for the same seed.

    Not stratified by class: the bounds ask that any image may come next, and a class that is due is no such thing.
    """
    return np.random.default_rng(seed).permutation(count)


class SequentialTest:
    """Looks at the counts after every batch.

    Args:
        max_drop: In points; None where the images have no labels.
        min_agreement: Share of 1.
        level: Of each of the bounds.
        num_available: Images there are.
    """

    def __init__(self, *, max_drop: float | None, min_agreement: float, level: float, num_available: int) -> None:
        self._max_drop, self._min_agreement, self._level = max_drop, min_agreement, level
        self._available = num_available
        self._seen = self._looks = 0
        self._drop = _Bounds(_DROPS, None if max_drop is None else max_drop / 100, level)
        self._flips = _Bounds(_FLIPS, 1 - min_agreement, level)

    def look(self, count: int, num_flips: int, only_reference: int, only_candidate: int) -> bool:
        """After a batch; true where the verdict is certain.

        Args:
            count: Images seen so far, and what was counted on them.
        """
        self._seen, self._looks = count, self._looks + 1
        self._flips.look((count - num_flips, num_flips))
        if self._max_drop is not None:
            self._drop.look((only_candidate, count - only_reference - only_candidate, only_reference))
        return bool(self._certain())

    def end(self) -> None:
        """No image is left; those that could not be used were never to be had."""
        self._available = self._seen

    def drop_bounds(self) -> tuple[float, float]:
        """One-sided bounds of the drop in points, each of confidence 1 - level."""
        low, high = self._drop.now()
        return 100 * low, 100 * high

    def drop_interval(self) -> tuple[float, float]:
        """Two-sided interval of the drop in points, of confidence 1 - level: each side errs half as often."""
        low, high = self._drop.at_level(self._level / 2)
        return 100 * low, 100 * high

    def result(self) -> SequentialRun:
        """What the looks so far came to."""
        labelled = self._max_drop is not None
        low, high = self.drop_bounds()
        fewest, most = self._flips.now()
        return SequentialRun(
            num_images=self._seen,
            num_available=self._available,
            num_looks=self._looks,
            stopped_early=self._seen < self._available,
            reason=self._certain() or "all images were seen and the bounds did not decide",
            drop_low=low if labelled else None,
            drop_high=high if labelled else None,
            agreement_low=100 * (1 - most),
            agreement_high=100 * (1 - fewest),
        )

    def _certain(self) -> str:
        """Why the verdict is certain; empty where it is not. One certain failure is enough, a pass needs both."""
        if self._max_drop is not None and self._drop.is_over:
            return f"the drop is over {self._max_drop:g} points"
        if self._flips.is_over:
            return f"the agreement is under {100 * self._min_agreement:g} %"
        if not self._flips.is_under or not (self._max_drop is None or self._drop.is_under):
            return ""
        agree = f"the agreement is over {100 * self._min_agreement:g} %"
        return agree if self._max_drop is None else f"the drop is under {self._max_drop:g} points and {agree}"


class _Bounds:
    """Bounds of one mean, and whether its limit was ever ruled out from either side.

    All looks hold at once, so what was once ruled out remains so. The bounds themselves take two hundred times as long
    as the question whether the limit is within them; they are taken where the answer changes, and at the end.
    """

    def __init__(self, values: Sequence[float], limit: float | None, level: float) -> None:
        self._values, self._limit, self._level = values, limit, level
        self._counts: Sequence[int] = (0,) * len(values)
        self._low, self._high = min(values), max(values)

    @property
    def is_under(self) -> bool:
        return self._limit is not None and self._high < self._limit

    @property
    def is_over(self) -> bool:
        return self._limit is not None and self._low > self._limit

    def look(self, counts: Sequence[int]) -> None:
        self._counts = counts
        wanted = -math.log(self._level)
        if self._limit is None or self.is_under or self.is_over:
            return
        mirrored = [-value for value in self._values]
        for values, limit in ((self._values, self._limit), (mirrored, -self._limit)):
            if log_wealth(counts, values, limit) >= wanted:
                self._low, self._high = self.now()

    def now(self) -> tuple[float, float]:
        low, high = self.at_level(self._level)
        return max(self._low, low), min(self._high, high)

    def at_level(self, level: float) -> tuple[float, float]:
        """Of the last look alone."""
        return lower_bound(self._counts, self._values, level), upper_bound(self._counts, self._values, level)
