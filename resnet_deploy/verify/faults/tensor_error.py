"""How far a tensor is from what it should be, accumulated batch by batch."""

from __future__ import annotations

__all__ = ["TensorErrorMeter"]

import math

import numpy as np

from resnet_deploy.verify.faults.divergence_result import TensorError

_BOUND_DB = 300.0


class TensorErrorMeter:
    """Takes pairs of one tensor and keeps sums only.

    Args:
        limit_db: A value counts as differing where its error is above this share of the tensor's root mean square in
            the batch; see `TensorError.differing_share`.
    """

    def __init__(self, limit_db: float) -> None:
        self._share = 10 ** (-limit_db / 20)
        self._values = self._compared = self._differing = self._nonfinite = 0
        self._max_abs = self._rr = self._cc = self._rc = self._noise = 0.0

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One batch of both, of one shape, any floating type."""
        if reference.shape != candidate.shape:
            raise ValueError(f"the reference is {reference.shape}, the candidate {candidate.shape}")
        r, c = (np.asarray(values, dtype=np.float64).ravel() for values in (reference, candidate))
        self._values += r.size
        both = np.isfinite(r) & np.isfinite(c)
        bad = int((np.isfinite(r) & ~np.isfinite(c)).sum())
        self._nonfinite += bad
        self._differing += bad
        if not both.all():
            r, c = r[both], c[both]
        if not r.size:
            return
        error = np.abs(c - r)
        signal = float(r @ r)
        self._compared += r.size
        self._differing += int((error > self._share * math.sqrt(signal / r.size)).sum())
        self._max_abs = max(self._max_abs, float(error.max()))
        self._rr += signal
        self._cc += float(c @ c)
        self._rc += float(r @ c)
        self._noise += float(error @ error)

    def result(self) -> TensorError:
        """The statistics so far."""
        nothing = self._compared == 0
        return TensorError(
            sqnr_db=None if nothing else self._sqnr_db(),
            cosine=None if nothing else self._cosine(),
            gain=self._rc / self._rr if self._rr > 0 else None,
            max_abs_error=None if nothing else self._max_abs,
            differing_share=self._differing / self._values if self._values else 0.0,
            num_nonfinite=self._nonfinite,
        )

    def _sqnr_db(self) -> float:
        if self._noise == 0:
            return _BOUND_DB
        ratio = 10 * math.log10(self._rr / self._noise) if self._rr > 0 else -_BOUND_DB
        return max(-_BOUND_DB, min(_BOUND_DB, ratio))

    def _cosine(self) -> float:
        if self._rr == 0 and self._cc == 0:
            return 1.0
        return self._rc / math.sqrt(self._rr * self._cc) if self._rr > 0 and self._cc > 0 else 0.0
