"""How one network decides against another on the same images."""

from __future__ import annotations

__all__ = ["Score", "compare_logits"]

import math
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.metrics import paired_drop_interval, wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A candidate against FP32 on the same images.

    Attributes:
        agreement: Share of images on which both choose the same class; low and high are its 95 % Wilson interval.
        num_nonfinite: Images for which a logit is NaN or infinite; they agree with nothing and are wrong.
        sqnr_db: Energy of the FP32 logits over that of the difference, over all other images; None where there is
            no difference.
        top1_percent, drop: Top-1 of the candidate and its loss against FP32 in points; None without labels.
        drop_low, drop_high: 95 % interval of the loss, from the images on which only one of the two is right.
    """

    num_images: int
    num_agreeing: int
    agreement: float
    agreement_low: float
    agreement_high: float
    num_nonfinite: int
    sqnr_db: float | None
    top1_percent: float | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None


def compare_logits(logits: np.ndarray, wanted: np.ndarray, labels: np.ndarray | None = None) -> Score:
    """Compare logits with those of FP32, both [N, K], row by row.

    Args:
        labels: [N] network outputs that should be largest.
    """
    finite = np.isfinite(logits).all(axis=1)
    count, chosen, reference = len(logits), logits.argmax(axis=1), wanted.argmax(axis=1)
    agreeing = int(((chosen == reference) & finite).sum())
    low, high = wilson_interval(agreeing, count)
    noise = float(np.square(logits[finite].astype(np.float64) - wanted[finite]).sum())
    signal = float(np.square(wanted[finite], dtype=np.float64).sum())
    truth = {}
    if labels is not None:
        right, before = (chosen == labels) & finite, reference == labels
        lost, won = int((before & ~right).sum()), int((right & ~before).sum())
        drop_low, drop_high = paired_drop_interval(lost, won, count)
        truth = {
            "top1_percent": 100.0 * float(right.mean()),
            "drop": 100.0 * (lost - won) / count,
            "drop_low": drop_low,
            "drop_high": drop_high,
        }
    return Score(
        num_images=count,
        num_agreeing=agreeing,
        agreement=agreeing / count,
        agreement_low=low,
        agreement_high=high,
        num_nonfinite=int((~finite).sum()),
        sqnr_db=10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None,
        **truth,
    )
