"""The interval of a difference of differences."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.verify.attribution.chain_network import difference_interval

_Z95 = 1.959963984540054


@pytest.mark.parametrize("lost, gained, count", [(0, 0, 10), (3, 1, 50), (40, 25, 1000), (1, 0, 5)])
def test_of_lost_and_gained_images_it_is_agresti_and_mins(lost: int, gained: int, count: int) -> None:
    """Oracle: the closed form of their section 3, with half an image in each of the four cells."""
    b, c, n = lost + 0.5, gained + 0.5, count + 2
    half = _Z95 * np.sqrt((b + c) - (b - c) ** 2 / n) / n
    found = difference_interval(np.array([1] * lost + [-1] * gained + [0] * (count - lost - gained)))
    assert found == pytest.approx((100 * ((b - c) / n - half), 100 * ((b - c) / n + half)))


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """4,000 samples of 1,000 images: the share covered has a standard deviation of 0.34 points; four of them."""
    values, shares = np.array([-2, -1, 0, 1, 2]), np.array([0.002, 0.02, 0.93, 0.04, 0.008])
    truth = 100 * float(values @ shares)
    rng = np.random.default_rng(0)
    samples = rng.choice(values, p=shares, size=(4000, 1000))
    covered = np.mean([low <= truth <= high for low, high in map(difference_interval, samples)])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


def test_it_tells_a_planted_difference_from_none() -> None:
    assert difference_interval(np.array([2] * 30 + [0] * 970))[0] > 0
    low, high = difference_interval(np.zeros(1000, int))
    assert low == -high < 0
