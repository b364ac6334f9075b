from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from resnet_deploy.verify.statistics.classes import class_regressions

_NAMES = tuple("abcdefghij")


def test_a_class_that_collapses_is_named_and_the_others_are_not() -> None:
    rng = np.random.default_rng(0)
    images, lost, won = np.full(10, 1000), rng.binomial(20, 0.5, 10), rng.binomial(20, 0.5, 10)
    lost[3] += 40
    found = class_regressions(_NAMES, images, lost, won, level=0.05)
    assert found.num_significant == 1 and found.worst[0].name == "d" and found.worst[0].significant
    expected = binomtest(int(lost[3]), int(lost[3] + won[3]), alternative="greater").pvalue
    assert found.worst[0].p == pytest.approx(expected, rel=1e-10)
    assert found.worst[0].p_holm == pytest.approx(10 * expected, rel=1e-10)
    assert found.worst[0].drop == pytest.approx((lost[3] - won[3]) / 10)


def test_a_class_that_is_significant_alone_may_not_be_among_ten() -> None:
    lost, won = np.zeros(10, int), np.zeros(10, int)
    lost[2] = 6  # p = 1/64 alone, 10/64 among ten
    found = class_regressions(_NAMES, np.full(10, 100), lost, won, level=0.05)
    assert found.worst[0].p < 0.05 < found.worst[0].p_holm and found.num_significant == 0


def test_classes_without_images_are_not_counted() -> None:
    images, lost = np.array([100, 0, 0, 0]), np.array([6, 0, 0, 0])
    found = class_regressions(_NAMES[:4], images, lost, np.zeros(4, int), level=0.05)
    assert found.num_tested == 1 and found.num_significant == 1


def test_all_significant_classes_are_listed_even_where_they_are_many() -> None:
    names = tuple(map(str, range(40)))
    found = class_regressions(names, np.full(40, 100), np.full(40, 30), np.zeros(40, int), level=0.05)
    assert found.num_significant == len(found.worst) == 40


def test_where_no_class_is_worse_a_false_alarm_is_as_rare_as_the_level_says() -> None:
    # Fair coins; 400 data sets of 10 classes: the exact test errs in at most 5 %, and 3 standard errors are 3.3 points.
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        differing = rng.poisson(12, 10)
        lost = rng.binomial(differing, 0.5)
        alarms += class_regressions(_NAMES, np.full(10, 1000), lost, differing - lost, level=0.05).num_significant > 0
    assert alarms / 400 <= 0.05 + 0.033
