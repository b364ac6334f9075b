"""What a network answered to some images, and how far two such answers are apart, row by row."""

from __future__ import annotations

__all__ = ["AnswerScale", "Answers", "Difference", "differing_bits", "first_nonfinite"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Answers = Mapping[str, np.ndarray]
"""Output name -> [N, ...], one row an image."""

_SMALLEST_PROBABILITY = 2.0**-13
"""Below it FP16 has too few digits for a logarithm to be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The largest difference between two answers.

    Attributes:
        value: Share of the output's largest value; infinite where one of them is not finite, 1 where an index
            differs that nothing excuses.
        row: Index of the row; `output`: its name.
    """

    value: float
    row: int
    output: str


class AnswerScale:
    """The size of every output of a network, found from its answers to different images.

    * Floats are compared as a share of the output's largest absolute value.
    * Probabilities (rows of values from 0 to 1 that sum to 1) by their logarithms, as softmax stretches the rounding
      of large logits.
    * Integers, the indices of a top-k say, must be equal. An index may differ where an output of floats of the same
      shape has, at its place and at a neighbour's, values closer than `limit`, and at the last place, whose rival is
      not shown: there the order is a matter of rounding.
    """

    def __init__(self, answers: Answers, *, limit: float) -> None:
        self._limit = limit
        self._probabilities = {name for name, rows in answers.items() if _are_probabilities(rows)}
        self._largest: dict[str, float] = {}
        for name, rows in answers.items():
            if rows.dtype.kind == "f":
                values = self._compared(name, rows)
                finite = np.abs(values[np.isfinite(values)])
                self._largest[name] = max(float(finite.max(initial=0.0)), float(np.finfo(np.float32).tiny))

    def distances(self, got: Answers, expected: Answers) -> dict[str, np.ndarray]:
        """Output -> [N] largest difference of each row; see `Difference.value`. Shapes must be equal."""
        return {name: self._distance(name, got, expected) for name in got}

    def difference(self, got: Answers, expected: Answers) -> Difference:
        """The worst row of the worst output."""
        found = [
            Difference(value=float(rows.max()), row=int(rows.argmax()), output=name)
            for name, rows in self.distances(got, expected).items()
        ]
        return max(found, key=lambda difference: difference.value)

    def _distance(self, name: str, got: Answers, expected: Answers) -> np.ndarray:
        a, b = got[name], expected[name]
        if a.dtype.kind != "f":
            return self._unexcused(a, b, got).astype(np.float64)
        a, b = self._compared(name, a), self._compared(name, b)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(a - b)
        error[~np.isfinite(a) | ~np.isfinite(b)] = np.inf
        return error.reshape(len(error), -1).max(axis=1, initial=0.0).astype(np.float64) / self._largest[name]

    def _unexcused(self, a: np.ndarray, b: np.ndarray, got: Answers) -> np.ndarray:
        """[N] whether a row has an index that differs without being a tie."""
        wrong = a != b
        values = next((rows for rows in got.values() if rows.shape == a.shape and rows.dtype.kind == "f"), None)
        if values is not None and a.ndim == 2:
            name = next(name for name, rows in got.items() if rows is values)
            values = self._compared(name, values)
            gaps = np.abs(np.diff(values, axis=1)) < 2 * self._limit * self._largest[name]
            tie = np.ones_like(wrong)  # the last place
            tie[:, :-1] = gaps
            tie[:, 1:-1] |= gaps[:, :-1]
            wrong &= ~tie
        return wrong.reshape(len(a), -1).any(axis=1)

    def _compared(self, name: str, rows: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float32)
        if name in self._probabilities:
            rows = np.log(np.maximum(rows, _SMALLEST_PROBABILITY))
        return rows


def differing_bits(got: Answers, expected: Answers) -> tuple[int, str] | None:
    """Row and output of the first row that is not equal bit for bit; None where all are."""
    for name, rows in got.items():
        # as bytes: NaN equals NaN, and -0 is not 0
        same = _bytes_of_rows(rows) == _bytes_of_rows(expected[name])
        if not same.all():
            return int(np.flatnonzero(~same.all(axis=1))[0]), name
    return None


def first_nonfinite(answers: Answers) -> tuple[int, str, int] | None:
    """Row, output and number of values that are NaN or infinite in the first such row; None where all are finite."""
    for name, rows in answers.items():
        if rows.dtype.kind == "f":
            bad = (~np.isfinite(rows)).reshape(len(rows), -1).sum(axis=1)
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                return row, name, int(bad[row])
    return None


def _bytes_of_rows(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)


def _are_probabilities(rows: np.ndarray) -> bool:
    if rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] < 2:
        return False
    sums = rows.astype(np.float64).sum(axis=1)  # K values of FP16 err by 2^-11 each, 4 sigma of 1000 equal ones: 1e-3
    return bool((rows >= 0).all() and (rows <= 1.001).all() and (np.abs(sums - 1) < 4e-3).all())
