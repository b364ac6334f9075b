"""How many images a proof takes, and how likely a given number of images gives it."""

from __future__ import annotations

__all__ = ["detection_power", "images_needed", "images_to_prove", "proof_power"]

import math

from resnet_deploy.core.metrics import normal_quantile, paired_drop_variance
from resnet_deploy.verify.statistics.result import ImagesNeeded

_POWERS = (0.8, 0.9)


def images_to_prove(max_drop: float, drop: float, discordance: float, *, level: float, power: float) -> int | None:
    """Images with which the one-sided bound of the drop is under `max_drop` with probability `power`.

    n = ((z(1 - level) * s0 + z(power) * s1) / (max_drop - drop))^2, where s0^2 is the variance of one image's
    difference under the hypothesis that the drop is `max_drop`, and s1^2 = discordance - drop^2 the true one.

    Args:
        max_drop, drop: Limit and true drop, as shares of 1.
        discordance: Share of images that only one of the two networks has right; at least |drop|.
    Returns:
        None where the drop is not under the limit, which no number of images proves then.
    Source: Nam, Biometrics 53 (1997) 1422-1430 (sample size of equivalence tests of pairs, variance restricted); at a
        hypothesis of 0 it is Connor, Biometrics 43 (1987) 207-211.
    """
    if drop >= max_drop:
        return None
    s0, s1 = _deviations(max_drop, drop, discordance)
    root = (normal_quantile(1 - level) * s0 + normal_quantile(power) * s1) / (max_drop - drop)
    return max(1, math.ceil(root * root))


def proof_power(count: int, max_drop: float, drop: float, discordance: float, *, level: float) -> float:
    """Probability that `count` images prove a true `drop` to be under `max_drop`; `images_to_prove` turned round."""
    s0, s1 = _deviations(max_drop, drop, discordance)
    return _normal_cdf((math.sqrt(count) * (max_drop - drop) - normal_quantile(1 - level) * s0) / s1)


def detection_power(count: int, drop: float, discordance: float, *, level: float) -> float:
    """Probability that McNemar's two-sided test on `count` images finds a true `drop` significant, on its own side.

    Source: Connor, Biometrics 43 (1987) 207-211 (unconditional power of McNemar's test).
    """
    s0, s1 = _deviations(0.0, drop, discordance)
    return _normal_cdf((math.sqrt(count) * abs(drop) - normal_quantile(1 - level / 2) * s0) / s1)


def images_needed(
    max_drop: float, drop: float, num_differing: int, count: int, *, level: float
) -> tuple[ImagesNeeded, ...]:
    """What would prove the drop to be under the limit: were it 0, and were it what was seen; at powers 0.8 and 0.9.

    Args:
        max_drop, drop: In points; a drop seen that is not positive is taken as 0.
        num_differing: Of the `count` images at hand, those that only one of the two has right.
    """
    rows = []
    for assumed in dict.fromkeys((0.0, max(0.0, drop))):
        for power in _POWERS:
            needed = images_to_prove(max_drop / 100, assumed / 100, num_differing / count, level=level, power=power)
            suffices = needed is not None and needed <= count
            rows.append(ImagesNeeded(assumed_drop=assumed, power=power, num_images=needed, suffices=suffices))
    return tuple(rows)


def _deviations(hypothesis: float, drop: float, discordance: float) -> tuple[float, float]:
    """Standard deviation of one image's difference under the hypothesis and in truth; the latter is not 0."""
    if not abs(drop) - 1e-9 <= discordance <= 1:
        raise ValueError(f"a drop of {drop} needs a discordance of {abs(drop)} to 1, got {discordance}")
    lost, won = (discordance + drop) / 2, (discordance - drop) / 2
    variance = paired_drop_variance(max(0.0, lost), max(0.0, won), 1.0, hypothesis)
    return math.sqrt(variance), math.sqrt(max(discordance - drop * drop, 1e-12))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
