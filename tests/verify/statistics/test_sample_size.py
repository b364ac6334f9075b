from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from resnet_deploy.core.metrics import paired_drop_interval
from resnet_deploy.verify.statistics.sample_size import detection_power, images_needed, images_to_prove, proof_power
from resnet_deploy.verify.statistics.scores import mcnemar


def _exact(n: int, drop: float, discordance: float, happens) -> float:
    """Probability of `happens(lost, won)`, over all splits that have a probability worth counting."""
    total = 0.0
    for differing in range(int(n * discordance + 6 * math.sqrt(n * discordance)) + 6):
        p = binom.pmf(differing, n, discordance)
        splits = binom.pmf(np.arange(differing + 1), differing, (discordance + drop) / (2 * discordance))
        total += sum(p * q for lost, q in enumerate(splits) if p * q > 1e-8 and happens(lost, differing - lost))
    return total


def test_images_to_prove_a_drop_of_nothing_at_no_discordance_in_closed_form() -> None:
    # s1 = 0 and s0^2 = m (1 - m), so n = z^2 (1 - m) / m.
    z = norm.ppf(0.95)
    assert images_to_prove(0.005, 0.0, 0.0, level=0.05, power=0.8) == pytest.approx(z * z * 0.995 / 0.005, abs=1.1)


def test_a_drop_that_is_not_under_the_limit_needs_no_finite_number() -> None:
    assert images_to_prove(0.005, 0.005, 0.02, level=0.05, power=0.8) is None
    assert images_to_prove(0.0, 0.0, 0.02, level=0.05, power=0.8) is None


@pytest.mark.parametrize("power", [0.8, 0.9])
def test_so_many_images_give_the_power_they_were_counted_for(power: float) -> None:
    n = images_to_prove(0.01, 0.002, 0.03, level=0.05, power=power)
    assert proof_power(n, 0.01, 0.002, 0.03, level=0.05) == pytest.approx(power, abs=1e-3)
    # Exactly, by counting all splits: the normal approximation at about 60 differing images is good to 2 points.
    exact = _exact(n, 0.002, 0.03, lambda b, c: paired_drop_interval(b, c, n, confidence=0.9)[1] < 1.0)
    assert exact == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize(("n", "drop"), [(2000, 0.01), (4000, 0.005), (1000, 0.02)])
def test_detection_power_is_that_of_the_mid_p_test(n: int, drop: float) -> None:
    # 40 to 80 differing images: the discreteness of the test is 2 to 3 points of power.
    exact = _exact(n, drop, 0.03, lambda b, c: b > c and mcnemar(b, c)[1] < 0.05)
    assert detection_power(n, drop, 0.03, level=0.05) == pytest.approx(exact, abs=0.03)


def test_power_grows_with_images_and_falls_with_discordance() -> None:
    assert detection_power(2000, 0.01, 0.02, level=0.05) > detection_power(1000, 0.01, 0.02, level=0.05)
    assert detection_power(2000, 0.01, 0.02, level=0.05) > detection_power(2000, 0.01, 0.05, level=0.05)
    assert proof_power(2000, 0.01, 0.0, 0.02, level=0.05) > proof_power(2000, 0.01, 0.005, 0.02, level=0.05)


def test_the_table_supposes_no_drop_and_the_drop_that_was_seen() -> None:
    rows = images_needed(0.5, 0.2, 100, 10_000, level=0.05)
    assert [(row.assumed_drop, row.power) for row in rows] == [(0.0, 0.8), (0.0, 0.9), (0.2, 0.8), (0.2, 0.9)]
    assert [row.suffices for row in rows] == [True, True, True, False]
    assert {row.assumed_drop for row in images_needed(0.5, -0.3, 100, 10_000, level=0.05)} == {0.0}
    beyond = images_needed(0.5, 0.7, 100, 10_000, level=0.05)[-1]
    assert beyond.num_images is None and not beyond.suffices


def test_a_drop_larger_than_its_discordance_is_refused() -> None:
    with pytest.raises(ValueError, match="0.02 needs a discordance"):
        detection_power(100, 0.02, 0.01, level=0.05)
