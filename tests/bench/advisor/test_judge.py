from __future__ import annotations

from dataclasses import replace

import pytest

from resnet_deploy.bench.advisor.advice import AccuracyBasis, KnownAccuracy, Needs, SpeedBasis, Standing
from resnet_deploy.bench.advisor.judge import judge
from tests.bench.advisor.conftest import an_option


def _speed_standing(basis: SpeedBasis, value: float, bound: float | None, **needs) -> Standing:
    option = an_option(latency_ms=value, images_per_second=1e3 / value, basis=basis)
    rate = None if bound is None else 1e3 / bound
    option = replace(option, speed=replace(option.speed, bound_ms=bound, bound_images_per_second=rate))
    return judge(option, Needs(**needs), target_watts=None).standing


@pytest.mark.parametrize("needs", [{"max_latency_ms": 1.0}, {"min_throughput": 1000.0}])
@pytest.mark.parametrize(
    ("basis", "value", "bound", "expected"),
    [
        (SpeedBasis.MEASURED, 1.0, None, Standing.MEETS),
        (SpeedBasis.MEASURED, 1.1, 0.2, Standing.FAILS),  # what was measured is final, whatever the bound says
        (SpeedBasis.NOT_VALID, 0.9, None, Standing.EXPECTED),
        (SpeedBasis.NOT_VALID, 1.1, 0.2, Standing.MEASURE),
        (SpeedBasis.NOT_VALID, 1.3, 1.2, Standing.FAILS),
        (SpeedBasis.NOT_VALID, 2.1, None, Standing.FAILS),  # more than twice the need: no busy machine explains that
        (SpeedBasis.SCALED, 0.9, 0.3, Standing.EXPECTED),
        (SpeedBasis.SCALED, 1.1, 0.3, Standing.MEASURE),
        (SpeedBasis.SCALED, 3.0, 1.1, Standing.FAILS),
        (SpeedBasis.BOUND, 0.9, 0.9, Standing.MEASURE),  # a bound never proves that a need is met
        (SpeedBasis.BOUND, 1.1, 1.1, Standing.FAILS),
    ],
)
def test_a_bound_can_only_rule_out_and_a_measurement_is_certain(needs, basis, value, bound, expected):
    assert _speed_standing(basis, value, bound, **needs) is expected


def _accuracy_check(accuracy: KnownAccuracy, floor: float = 76.0):
    option = replace(an_option(), accuracy=accuracy)
    (check,) = judge(option, Needs(min_top1=floor), target_watts=None).checks
    return check


@pytest.mark.parametrize(
    ("top1", "low", "high", "expected"),
    [
        (77.0, 76.1, 77.9, Standing.MEETS),
        (76.5, 75.7, 77.3, Standing.EXPECTED),
        (75.5, 74.6, 76.4, Standing.MEASURE),
        (74.0, 73.1, 74.9, Standing.FAILS),
    ],
)
def test_a_measured_top1_is_certain_where_its_interval_is(top1, low, high, expected):
    known = KnownAccuracy(basis=AccuracyBasis.MEASURED, top1_percent=top1, low=low, high=high, source="a verdict")
    assert _accuracy_check(known).standing is expected


def test_an_unknown_top1_meets_no_floor_without_a_word():
    check = _accuracy_check(KnownAccuracy(basis=AccuracyBasis.UNKNOWN, source="nobody measured it"))
    assert check.standing is Standing.MEASURE and check.value is None
    assert "not known" in check.reason and "nobody measured it" in check.reason


def test_an_unknown_top1_fails_where_it_can_not_be_as_high():
    check = _accuracy_check(KnownAccuracy(basis=AccuracyBasis.UNKNOWN, high=69.75, source="69.75 % at 224 px"))
    assert check.standing is Standing.FAILS and "69.75" in check.reason


@pytest.mark.parametrize(
    ("top1", "low", "high", "expected"),
    [
        (76.5, 76.2, 77.1, Standing.EXPECTED),
        (75.6, 75.6, 76.2, Standing.MEASURE),
        (75.0, 75.0, 75.6, Standing.FAILS),
        (80.0, None, 80.6, Standing.MEASURE),  # nobody published what these weights lose
    ],
)
def test_an_allowance_decides_only_outside_of_it(top1, low, high, expected):
    known = KnownAccuracy(basis=AccuracyBasis.DERIVED, top1_percent=top1, low=low, high=high, source="FP32 less 0.6")
    assert _accuracy_check(known).standing is expected


def test_a_published_top1_is_expected_and_never_certain():
    known = KnownAccuracy(basis=AccuracyBasis.PUBLISHED, top1_percent=76.156, low=76.156, high=76.156, source="timm")
    assert _accuracy_check(known).standing is Standing.EXPECTED
    assert _accuracy_check(known, floor=76.2).standing is Standing.FAILS


@pytest.mark.parametrize(
    ("measured", "board", "expected"),
    [
        (25.0, 72.0, Standing.MEETS),
        (35.0, 72.0, Standing.FAILS),
        (None, 25.0, Standing.MEETS),  # a board that can not draw more
        (None, 72.0, Standing.MEASURE),
        (None, None, Standing.MEASURE),
    ],
)
def test_the_boards_limit_proves_a_need_of_power_and_never_disproves_it(measured, board, expected):
    option = an_option()
    option = replace(option, speed=replace(option.speed, watts=measured))
    (check,) = judge(option, Needs(max_watts=30.0), target_watts=board).checks
    assert check.standing is expected
    assert (str(int(measured or board or 0)) in check.reason) or board is None


def test_an_option_stands_as_its_worst_need():
    option = an_option(latency_ms=1.0, top1=76.5)
    judged = judge(option, Needs(max_latency_ms=2.0, min_top1=76.0, max_watts=30.0), target_watts=None)
    assert [check.standing for check in judged.checks] == [Standing.MEETS, Standing.EXPECTED, Standing.MEASURE]
    assert judged.standing is Standing.MEASURE
    assert judge(option, Needs(), target_watts=None).standing is Standing.MEETS
