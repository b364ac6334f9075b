from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from resnet_deploy.bench.measure.warmup import warm_up


def _warm(seconds_of: Callable[[int], float], **limits: float):
    made, now = 0, 0.0

    def loop(count: int) -> np.ndarray:
        nonlocal made, now
        seconds = np.array([seconds_of(made + i) for i in range(count)])
        made, now = made + count, now + float(seconds.sum())
        return seconds

    result = warm_up(loop, **{"round_seconds": 0.1, "max_seconds": 5.0, **limits}, clock=lambda: now)
    return *result, made


def test_it_ends_when_three_rounds_agree_and_says_so() -> None:
    found, per_pass, made = _warm(lambda i: 0.010)
    assert found.steady and found.passes == made == 1 + 2 * 10 and per_pass == 0.010
    assert "3 rounds" in found.rule and found.round_medians_ms == (10.0, 10.0, 10.0)
    assert found.seconds == pytest.approx(0.21)


def test_two_equal_rounds_on_a_step_of_the_clock_are_not_enough() -> None:
    # 20 ms for two rounds, then 10 ms: a rule of two rounds would stop on the step
    found, per_pass, _ = _warm(lambda i: 0.020 if i < 6 else 0.010)
    assert found.steady and per_pass == pytest.approx(0.010)


def test_what_never_settles_ends_at_the_limit_and_says_not_steady() -> None:
    found, _, _ = _warm(lambda i: 0.010 * 1.02**i, max_seconds=2.0)
    assert not found.steady and found.seconds >= 2.0 and found.rule.startswith("not the medians")
    assert len(found.round_medians_ms) <= 8
