"""Hits of two networks on the same images: shares, the drop between them, and whether they differ at all."""

from __future__ import annotations

__all__ = ["SCORE_METHOD", "decide_drop", "mcnemar", "paired_score", "proportion"]

from resnet_deploy.core.metrics import paired_drop_interval, wilson_interval
from resnet_deploy.verify.statistics.result import Conclusion, DropDecision, PairedScore, Proportion

SCORE_METHOD = "score interval of the pairs (Tango 1998)"


def proportion(hits: int, count: int, level: float) -> Proportion:
    """`hits` of `count` in percent, with the Wilson interval of confidence 1 - level; 0 % of no images."""
    low, high = wilson_interval(hits, count, confidence=1 - level)
    percent = 100 * hits / count if count else 0.0
    return Proportion(num_hits=hits, num_images=count, percent=percent, low=100 * low, high=100 * high)


def mcnemar(only_reference: int, only_candidate: int) -> tuple[float, float]:
    """Two-sided p-values of the hypothesis that both networks are equally good: exact, and mid-p.

    The images on which only one is right then fall to either side like a fair coin. The exact test counts the whole
    probability of the observed split and so rejects less often than its level says; mid-p counts half of it, which
    keeps close to the level and is the one to decide by.

    Source: McNemar, Psychometrika 12 (1947) 153-157; Fagerland, Lydersen and Laake, BMC Medical Research Methodology
        13:91 (2013), which recommends mid-p over the exact and the corrected asymptotic test.
    """
    from scipy.stats import binom

    fewer, differing = min(only_reference, only_candidate), only_reference + only_candidate
    tail = 2 * float(binom.cdf(fewer, differing, 0.5))
    return min(1.0, tail), min(1.0, tail - float(binom.pmf(fewer, differing, 0.5)))


def paired_score(reference: int, candidate: int, both: int, count: int, *, level: float) -> PairedScore:
    """From the numbers of images that the reference hits, that the candidate hits, and that both hit.

    Args:
        count: All images, at least 1.
    """
    lost, won = reference - both, candidate - both
    low, high = paired_drop_interval(lost, won, count, confidence=1 - level)
    p_exact, p_mid = mcnemar(lost, won)
    return PairedScore(
        reference=proportion(reference, count, level),
        candidate=proportion(candidate, count, level),
        num_both=both,
        num_only_reference=lost,
        num_only_candidate=won,
        num_neither=count - both - lost - won,
        drop=100 * (lost - won) / count,
        drop_low=low,
        drop_high=high,
        p_exact=p_exact,
        p_mid=p_mid,
        differs=p_mid < level,
    )


def decide_drop(
    score: PairedScore,
    max_drop: float,
    *,
    level: float,
    prove: bool,
    bounds: tuple[float, float] | None = None,
    method: str = SCORE_METHOD,
) -> DropDecision:
    """Hold the drop against its limit.

    Args:
        max_drop: In points.
        bounds: One-sided bounds of the drop in points, where they come from a sequential run; None takes the score
            interval's. One-sided bounds at `level` are the ends of a two-sided interval at twice that.
    """
    if bounds is None:
        count = score.reference.num_images
        bounds = paired_drop_interval(
            score.num_only_reference, score.num_only_candidate, count, confidence=1 - 2 * level
        )
    low, high = bounds
    conclusion = Conclusion.UNDECIDED
    if high < max_drop:
        conclusion = Conclusion.WITHIN
    elif low > max_drop:
        conclusion = Conclusion.BEYOND
    return DropDecision(max_drop=max_drop, low=low, high=high, conclusion=conclusion, prove=prove, method=method)
