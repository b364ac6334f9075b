from __future__ import annotations

import math

import pytest

from resnet_deploy.verify.checks import check_above, check_at_least, check_at_most, check_below


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_at_most, (1.0, 0.9), (1.1,)),
        (check_below, (0.9,), (1.0, 1.1)),
        (check_at_least, (1.0, 1.1), (0.9,)),
        (check_above, (1.1,), (1.0, 0.9)),
    ],
)
def test_a_check_holds_as_its_relation_says_and_fails_without_a_value(check, good: tuple, bad: tuple) -> None:
    assert all(check("x", value, 1.0, "given").passed for value in good)
    assert not any(check("x", value, 1.0).passed for value in (*bad, None, math.nan))
    one = check("x", good[0], 1.0, "given")
    compare = {"<=": "__le__", "<": "__lt__", ">=": "__ge__", ">": "__gt__"}[one.relation]
    assert getattr(one.value, compare)(one.limit) and one.source == "given"
