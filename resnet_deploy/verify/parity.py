"""How far the outputs of two runners are apart, accumulated batch by batch."""

from __future__ import annotations

__all__ = ["Parity", "ParityMeter", "compare_outputs"]

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.verify.error_histogram import ErrorHistogram

_RELATIVE_FLOOR = 1e-3
"""Relative errors are taken against max(|reference|, this share of the reference's largest value in the batch)."""

_SQNR_BOUND_DB = 300.0
"""Beyond what float64 sums can tell from equality; a finite bound keeps the verdict plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Statistics of candidate against reference over all rows.

    Errors are over values finite in both; None where there is no such value.

    Attributes:
        num_rows, num_values: Rows (images) and values seen.
        max_abs_error, mean_abs_error: Of candidate - reference.
        abs_error_p50, abs_error_p90, abs_error_p99, abs_error_p999: The error that 50, 90, 99 and 99.9 % of the values do
            not exceed, each within 0.8 % of itself; None in a file of an older version.
        max_relative_error: Of |candidate - reference| / max(|reference|, 0.001 * the batch's largest |reference|).
        cosine: Of the two outputs taken as one long vector; blind to a factor.
        sqnr_db: 10 log10(sum reference^2 / sum (candidate - reference)^2), kept within +-300 (equal outputs have
            300). A candidate that is g times the reference has -20 log10 |g - 1|: a factor of two gives 0 dB.
        gain: Least-squares factor from reference to candidate; 1 where nothing was scaled.
        top1_agreement: Share of rows whose largest logit is at the same class; a row with NaN agrees with none.
        num_reference_nonfinite, num_candidate_nonfinite: NaN and infinite values.
    """

    num_rows: int
    num_values: int
    max_abs_error: float | None
    mean_abs_error: float | None
    max_relative_error: float | None
    cosine: float | None
    sqnr_db: float | None
    gain: float | None
    top1_agreement: float | None
    num_reference_nonfinite: int
    num_candidate_nonfinite: int
    abs_error_p50: float | None = None
    abs_error_p90: float | None = None
    abs_error_p99: float | None = None
    abs_error_p999: float | None = None


class ParityMeter:
    """Takes pairs of batches and keeps sums only, so its memory does not grow with the data set."""

    def __init__(self) -> None:
        self._rows = self._values = self._compared = self._agree = 0
        self._nonfinite = [0, 0]
        self._max_abs = self._sum_abs = self._max_relative = 0.0
        self._rr = self._cc = self._rc = self._noise = 0.0
        self._errors = ErrorHistogram()

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One batch of outputs, both [N, K].

        Raises:
            EngineRunError: The shapes differ or are not [N, K].
        """
        if reference.shape != candidate.shape or reference.ndim != 2:
            raise EngineRunError(
                f"outputs can not be compared: the reference's shape is {list(reference.shape)}, "
                f"the candidate's {list(candidate.shape)}, expected the same [N, classes]",
                remedy="compare two files of the same network and number of classes",
            )
        finite_r, finite_c = np.isfinite(reference), np.isfinite(candidate)
        self._rows += len(reference)
        self._values += reference.size
        self._nonfinite[0] += int((~finite_r).sum())
        self._nonfinite[1] += int((~finite_c).sum())
        comparable = ~np.isnan(reference).any(axis=1) & ~np.isnan(candidate).any(axis=1)
        if reference.size:
            self._agree += int(((reference.argmax(axis=1) == candidate.argmax(axis=1)) & comparable).sum())
        both = finite_r & finite_c
        r, c = reference[both].astype(np.float64), candidate[both].astype(np.float64)
        if r.size:
            self._add_values(r, c)

    def _add_values(self, r: np.ndarray, c: np.ndarray) -> None:
        error = np.abs(c - r)
        self._compared += r.size
        self._max_abs = max(self._max_abs, float(error.max()))
        self._sum_abs += float(error.sum())
        self._errors.add(error)
        floor = np.maximum(np.abs(r), max(_RELATIVE_FLOOR * float(np.abs(r).max()), np.finfo(np.float32).tiny))
        self._max_relative = max(self._max_relative, float((error / floor).max()))
        self._rr += float(r @ r)
        self._cc += float(c @ c)
        self._rc += float(r @ c)
        self._noise += float(error @ error)

    def result(self) -> Parity:
        """The statistics so far."""
        nothing = self._compared == 0
        return Parity(
            num_rows=self._rows,
            num_values=self._values,
            max_abs_error=None if nothing else self._max_abs,
            mean_abs_error=None if nothing else self._sum_abs / self._compared,
            max_relative_error=None if nothing else self._max_relative,
            cosine=None if nothing else _cosine(self._rr, self._cc, self._rc),
            sqnr_db=None if nothing else _sqnr_db(self._rr, self._noise),
            gain=self._rc / self._rr if self._rr > 0 else None,
            top1_agreement=self._agree / self._rows if self._rows else None,
            num_reference_nonfinite=self._nonfinite[0],
            num_candidate_nonfinite=self._nonfinite[1],
            abs_error_p50=self._errors.percentile(50),
            abs_error_p90=self._errors.percentile(90),
            abs_error_p99=self._errors.percentile(99),
            abs_error_p999=self._errors.percentile(99.9),
        )


def compare_outputs(reference: Iterable[np.ndarray], candidate: Iterable[np.ndarray]) -> Parity:
    """Compare two streams of [N, K] batches that hold the same rows in the same batches.

    Raises:
        EngineRunError: A pair differs in shape, or one stream is shorter.
    """
    meter = ParityMeter()
    for index, (r, c) in enumerate(zip_longest(reference, candidate)):
        if r is None or c is None:
            raise EngineRunError(f"the {'reference' if r is None else 'candidate'} ends after {index} batches")
        meter.add(np.asarray(r), np.asarray(c))
    return meter.result()


def _cosine(rr: float, cc: float, rc: float) -> float:
    if rr == 0 and cc == 0:
        return 1.0
    return rc / math.sqrt(rr * cc) if rr > 0 and cc > 0 else 0.0


def _sqnr_db(signal: float, noise: float) -> float:
    if noise == 0:
        return _SQNR_BOUND_DB
    ratio_db = 10 * math.log10(signal / noise) if signal > 0 else -_SQNR_BOUND_DB
    return max(-_SQNR_BOUND_DB, min(_SQNR_BOUND_DB, ratio_db))
