"""When a layer's own error is more than its precision explains: a limit, what eight bits can do, and an outlier rule."""

from __future__ import annotations

__all__ = ["LayerError", "find_reasons", "limit_of"]

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from resnet_deploy.core.specs import Precision

# SQNR in dB that one layer must keep when it is computed from the reference's own tensors.
# FP32: another order of the sums leaves 2^-24 * sqrt(terms), over 100 dB; a GPU that multiplies in TF32 rounds both
#   operands to 2^-11, uniformly: 2^-11 / sqrt(3) * sqrt(2) of a product, 68 dB. 60 dB leaves a factor of 2.5.
# FP16: input, weight and result each rounded to 2^-11: 2^-11 / sqrt(3) * sqrt(3), 66 dB; a sum that cancels to a tenth
#   of its terms loses 20 dB. 40 dB leaves a factor of two besides.
# BF16: FP16's rule with 2^-8: 48 dB, less the same 26 dB.
# INT8: a scale of amax / 127 is a step whose rounding, step / sqrt(12), stands 20 log10(440 * rms / amax) under the
#   tensor: 33 dB where the largest value is ten times the rms, 27 dB at twenty. Input and weights: 3 dB less; a sum
#   that cancels to a fifth of its terms: 14 dB less. 10 dB is an error of a third. A weight that is four times too
#   large has -9.5 dB, one that is twice too large 0 dB.
# FP8: E4M3 rounds by 2^-4 at most, 2.6 % rms (31 dB), input and weights: 28 dB; with the same cancelling 14 dB.
_LIMITS_DB = {
    Precision.FP32: 60.0,
    Precision.FP16: 40.0,
    Precision.BF16: 22.0,
    Precision.INT8: 10.0,
    Precision.FP8: 10.0,
}

_SAME_GRAPH_DB = 20.0
"""Of INT8 and FP8 where both sides run one and the same graph: both round to the same steps, and kernels that sum in
another order only move a value across the border of two. If all moved by a whole step, that would be sqrt(12) (10.8 dB)
more than what rounding itself leaves, 27 to 40 dB."""
_LEAST_STEP_DB = 6.0
"""A factor of two in the error: nothing under that is worth a word. Calibrated scales stay within 3 dB of max|x| / 127
on images like those of the calibration; a step that is four times too coarse loses up to 12 dB."""
_OUTLIER_SCORE = 3.5
_WITHIN_DB = 20.0
"""Only layers so near to the limit can be outliers: among errors of 1e-6, one of 1e-5 is no fault."""
_LEAST_GROUP = 5
"""A median of fewer layers says nothing of how they scatter."""


class LayerError(NamedTuple):
    """What the rule needs of a layer: its own error, and which layers it is to be compared with.

    Attributes:
        sqnr_db: Of the introduced error; None where nothing is finite.
        num_nonfinite: NaN and infinite values that the reference does not have.
        explained_db: SQNR with scales made for these very tensors; None where that does not apply.
        group: Layers of one kind, for the outlier rule; None leaves that rule out, as for quantised layers: how far a
            tensor's range lets a sum cancel differs from layer to layer by 20 dB in sound networks.
    """

    sqnr_db: float | None
    num_nonfinite: int
    explained_db: float | None
    group: str | None


def limit_of(reference: Precision, candidate: Precision, *, same_graph: bool = False) -> float:
    """The SQNR in dB under which a layer is at fault whatever the others do: that of the coarser precision.

    Args:
        same_graph: Both run the same graph, rounding included, on two backends.
    """
    limit = min(_LIMITS_DB[reference], _LIMITS_DB[candidate])
    return max(limit, _SAME_GRAPH_DB) if same_graph else limit


def find_reasons(layers: Sequence[LayerError], limit_db: float) -> list[str]:
    """Why each layer is at fault, in words; empty for a sound one.

    The first rule that fires names the reason: values that are not finite; an SQNR under `limit_db`; where it is
    known what the layer's bits can do (`explained_db`), an SQNR 6 dB under that, so an error of twice that; of a layer in
    floating point, an SQNR that stands out among the layers of the same group, by the modified z-score 0.6745 (x - median) / MAD under
    -3.5, at least 6 dB under the median and within 20 dB of the limit.

    Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (ASQC, 1993), section 3.4.
    """
    groups: dict[str | None, list[float]] = defaultdict(list)
    for layer in layers:
        if layer.sqnr_db is not None and layer.group is not None:
            groups[layer.group].append(layer.sqnr_db)
    return [_reason(layer, groups.get(layer.group, []), limit_db) for layer in layers]


def _reason(layer: LayerError, group: list[float], limit_db: float) -> str:
    if layer.num_nonfinite:
        return f"{layer.num_nonfinite:,} values are not finite"
    if layer.sqnr_db is None:
        return ""
    if layer.sqnr_db < limit_db:
        return f"{layer.sqnr_db:.1f} dB is under the limit of {limit_db:g} dB"
    if layer.explained_db is not None:
        worse = layer.explained_db - layer.sqnr_db
        if worse < _LEAST_STEP_DB:
            return ""
        return f"{layer.sqnr_db:.1f} dB, {worse:.1f} dB worse than its bits allow: the scales do not fit its tensors"
    if len(group) < _LEAST_GROUP or layer.sqnr_db > limit_db + _WITHIN_DB:
        return ""
    middle = _median(group)
    spread = _median([abs(value - middle) for value in group])
    below = middle - layer.sqnr_db
    score = 0.6745 * below / spread if spread > 0 else math.inf
    if below < _LEAST_STEP_DB or score <= _OUTLIER_SCORE:
        return ""
    return f"{layer.sqnr_db:.1f} dB stands out: {below:.1f} dB under the median of its {len(group)} like layers"


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
