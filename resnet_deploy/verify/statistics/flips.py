"""Images whose first class differs between two networks, and how sure the reference had been of them."""

from __future__ import annotations

__all__ = ["FlipRecorder", "probability_margins"]

from collections.abc import Callable, Sequence

import numpy as np

from resnet_deploy.verify.statistics.result import FlippedImage, Flips, MarginHistogram, Margins
from resnet_deploy.verify.statistics.scores import proportion

_BINS = 20
_LISTED = 20
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_RIGHT_TO_WRONG, _WRONG_TO_RIGHT, _WRONG_TO_WRONG = "right to wrong", "wrong to right", "wrong to wrong"


def probability_margins(scores: np.ndarray, *, are_logits: bool) -> np.ndarray:
    """Gap of the probabilities of the first and the second class of each row.

    Of probabilities, not of logits: it means the same for every network, and its range is known beforehand.

    Args:
        scores: [N, K] logits, or probabilities.
    Returns:
        [N] float32 from 0 to 1; NaN where a value of the row is not finite.
    """
    rows = np.arange(len(scores))
    first = scores.argmax(axis=1)
    top = scores[rows, first]
    others = scores.copy()
    others[rows, first] = -np.inf
    second = others.max(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = (1 - np.exp(second - top)) / np.exp(scores - top[:, None]).sum(axis=1) if are_logits else top - second
    gaps[~np.isfinite(scores).all(axis=1)] = np.nan
    return gaps.astype(np.float32)


class FlipRecorder:
    """Takes the scores of both networks batch by batch; keeps one number an image, and six an image that flips.

    Args:
        are_logits: The scores are logits; else probabilities.
    """

    def __init__(self, *, are_logits: bool) -> None:
        self._are_logits = are_logits
        self._margins: list[np.ndarray] = []
        self._flipped: list[np.ndarray] = []
        self._found: list[_Found] = []

    def add(self, reference: np.ndarray, candidate: np.ndarray, indices: np.ndarray, labels: np.ndarray | None) -> int:
        """One batch; gives the number of flips in it.

        Args:
            reference, candidate: [N, K] scores, columns in the same order.
            indices: [N] places of the images.
            labels: [N] columns of the true classes; None where they are not known.
        """
        first, second = reference.argmax(axis=1), candidate.argmax(axis=1)
        undefined = np.isnan(reference).any(axis=1) | np.isnan(candidate).any(axis=1)
        flipped = (first != second) | undefined
        margins = probability_margins(reference, are_logits=self._are_logits)
        self._margins.append(margins)
        self._flipped.append(flipped)
        at = np.flatnonzero(flipped)
        if len(at):
            theirs = probability_margins(candidate[at], are_logits=self._are_logits)
            first = np.where(np.isnan(reference).any(axis=1), -1, first)
            second = np.where(np.isnan(candidate).any(axis=1), -1, second)
            truth = np.full(len(at), -1, np.int64) if labels is None else labels[at]
            self._found += [
                _Found(*row) for row in zip(indices[at], truth, first[at], second[at], margins[at], theirs, strict=True)
            ]
        return len(at)

    def result(
        self, class_names: Sequence[str], image_name: Callable[[int], str], *, labelled: bool, level: float
    ) -> Flips:
        """The statistics so far.

        Args:
            class_names: By column.
            image_name: Path of the image at an index that was given to `add`.
        """
        margins = np.concatenate([np.zeros(0, np.float32), *self._margins])
        flipped = np.concatenate([np.zeros(0, bool), *self._flipped])
        kinds = [found.kind for found in self._found]
        edges = np.linspace(0, 1, _BINS + 1)
        surest = sorted(self._found, key=lambda found: (-np.nan_to_num(found.reference_margin, nan=2.0), found.index))
        return Flips(
            rate=proportion(len(self._found), len(margins), level),
            num_right_to_wrong=kinds.count(_RIGHT_TO_WRONG) if labelled else None,
            num_wrong_to_right=kinds.count(_WRONG_TO_RIGHT) if labelled else None,
            num_wrong_to_wrong=kinds.count(_WRONG_TO_WRONG) if labelled else None,
            all_margins=_quantiles(margins),
            flipped_margins=_quantiles(margins[flipped]),
            histogram=MarginHistogram(
                edges=tuple(round(float(edge), 10) for edge in edges),
                num_all=_counts(margins, edges),
                num_flipped=_counts(margins[flipped], edges),
            ),
            suspicious=tuple(found.described(class_names, image_name) for found in surest[:_LISTED]),
        )


class _Found:
    """One flipped image; classes are columns, -1 where not known or not finite."""

    __slots__ = ("candidate", "candidate_margin", "index", "label", "reference", "reference_margin")

    def __init__(self, index, label, reference, candidate, reference_margin, candidate_margin) -> None:
        self.index, self.label = int(index), int(label)
        self.reference, self.candidate = int(reference), int(candidate)
        self.reference_margin, self.candidate_margin = float(reference_margin), float(candidate_margin)

    @property
    def kind(self) -> str:
        if self.label < 0:
            return ""
        if self.reference == self.label:
            return _RIGHT_TO_WRONG
        return _WRONG_TO_RIGHT if self.candidate == self.label else _WRONG_TO_WRONG

    def described(self, class_names: Sequence[str], image_name: Callable[[int], str]) -> FlippedImage:
        return FlippedImage(
            index=self.index,
            name=image_name(self.index),
            kind=self.kind,
            label=class_names[self.label] if self.label >= 0 else None,
            reference_class=class_names[self.reference] if self.reference >= 0 else "not finite",
            candidate_class=class_names[self.candidate] if self.candidate >= 0 else "not finite",
            reference_margin=_finite(self.reference_margin),
            candidate_margin=_finite(self.candidate_margin),
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _quantiles(margins: np.ndarray) -> Margins | None:
    margins = margins[np.isfinite(margins)]
    if not len(margins):
        return None
    p05, p25, p50, p75, p95, largest = (float(q) for q in np.quantile(margins, _QUANTILES))
    return Margins(num_images=len(margins), p05=p05, p25=p25, p50=p50, p75=p75, p95=p95, largest=largest)


def _counts(margins: np.ndarray, edges: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.histogram(margins[np.isfinite(margins)], bins=edges)[0])
