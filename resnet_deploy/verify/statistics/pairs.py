"""Hits of two networks counted image by image, in all and by class."""

from __future__ import annotations

__all__ = ["PairCounter"]

from collections.abc import Sequence

import numpy as np

from resnet_deploy.verify.statistics.classes import class_regressions
from resnet_deploy.verify.statistics.result import ClassRegressions, PairedScore
from resnet_deploy.verify.statistics.scores import paired_score

_TOPS = (1, 5)


class PairCounter:
    """Counts, for top-1 and top-5, who has hit.

    Args:
        num_classes: Of the data set.
    Attributes:
        num_images: So far.
        only_reference, only_candidate: Images whose top-1 only that side has hit.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_images = 0
        self._hits = {k: [0, 0, 0] for k in _TOPS}  # reference, candidate, both
        self._images, self._lost, self._won = (np.zeros(num_classes, dtype=np.int64) for _ in range(3))

    def add(self, reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> None:
        """One batch.

        Args:
            reference, candidate: [N] ranks of the true class, 0 for the first.
            labels: [N] true classes, in the data set's numbering.
        """
        self.num_images += len(labels)
        for k, counts in self._hits.items():
            first, second = reference < k, candidate < k
            for place, hits in enumerate((first, second, first & second)):
                counts[place] += int(hits.sum())
        first, second = reference < 1, candidate < 1
        for counts, chosen in ((self._images, ...), (self._lost, first & ~second), (self._won, second & ~first)):
            counts += np.bincount(labels[chosen], minlength=len(counts))

    @property
    def only_reference(self) -> int:
        """Images that only the reference has right."""
        return int(self._lost.sum())

    @property
    def only_candidate(self) -> int:
        """Images that only the candidate has right."""
        return int(self._won.sum())

    def score(self, k: int, level: float) -> PairedScore:
        """Of top-1 or top-5; at least one image must have been added."""
        return paired_score(*self._hits[k], self.num_images, level=level)

    def regressions(self, names: Sequence[str], level: float) -> ClassRegressions:
        """Classes that lose top-1."""
        return class_regressions(names, self._images, self._lost, self._won, level=level)
