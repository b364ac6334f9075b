from __future__ import annotations

import json
from itertools import pairwise

import pytest

from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.schedule import Schedule, learning_rate_at


def test_paper_rates_at_the_milestones():
    recipe = load_recipe("paper-cifar")
    rates = [learning_rate_at(recipe, step, 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_rate_rises_to_its_peak_and_falls_towards_zero(schedule):
    recipe = override_recipe(load_recipe("fast-digits"), {"schedule": schedule, "warmup_fraction": 0.25})
    rates = [learning_rate_at(recipe, step, 100) for step in range(100)]
    assert rates.index(max(rates)) in (24, 25)
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert all(a < b for a, b in pairwise(rates[:25]))
    assert all(a > b > 0 for a, b in pairwise(rates[25:]))
    assert rates[-1] < 0.02 * recipe.learning_rate


def start_of(depth: int) -> Schedule:
    return Schedule(load_recipe("paper-cifar"), total_steps=64_000, depth=depth)


def test_the_start_phase_is_for_deep_nets_only():
    # arXiv:1512.03385, section 4.2: only n = 18 (110 layers) starts at 0.01
    assert start_of(56).rate(0) == 0.1
    assert not start_of(56).needs_errors
    assert start_of(110).rate(0) == 0.01


def test_the_start_phase_ends_once_the_error_of_100_steps_is_below_80_percent():
    schedule = start_of(110)
    errors = [95.0] * 300 + [75.0] * 200
    ends = None
    for step, error in enumerate(errors):
        assert schedule.rate(step) == 0.01
        schedule.after_step(error)
        if not schedule.needs_errors:
            ends = step
            break
    # after k steps at 75 the mean of the last hundred is 95 - 0.2 k, below 80 for the first time at k = 76
    assert ends == 300 + 76 - 1
    assert schedule.rate(ends + 1) == 0.1
    schedule.after_step(99.0)
    assert not schedule.needs_errors  # it does not come back


def test_one_lucky_batch_does_not_end_the_start_phase():
    schedule = start_of(110)
    for error in [95.0] * 150 + [10.0] + [95.0] * 20:
        schedule.after_step(error)
    assert schedule.needs_errors


def plateau() -> Schedule:
    recipe = override_recipe(load_recipe("paper-imagenet"), {"plateau_patience": 2})
    return Schedule(recipe, total_steps=1000, depth=50)


def test_plateau_divides_after_looks_without_a_new_best():
    schedule = plateau()
    divided = [schedule.after_look(error) for error in (50, 40, 41, 40, 39, 45, 44, 43, 42)]
    #                                      best 50, 40; waited 1, 2: divide; best 39; waited 1, 2: divide; 1, 2: divide
    assert divided == [False, False, False, True, False, False, True, False, True]
    assert schedule.rate(0) == pytest.approx(0.1 * 0.1**3)


def test_other_schedules_do_not_look():
    schedule = start_of(20)
    assert not any(schedule.after_look(50.0) for _ in range(20))
    assert schedule.rate(0) == 0.1


@pytest.mark.parametrize("kind", ["start", "plateau"])
def test_the_state_goes_through_json_and_carries_on(kind):
    whole, first = (start_of(110), start_of(110)) if kind == "start" else (plateau(), plateau())
    errors = [90.0] * 80 + [60.0] * 60
    feed = (lambda s, e: s.after_step(e)) if kind == "start" else (lambda s, e: s.after_look(e))
    for error in errors:
        feed(whole, error)
    for error in errors[:90]:
        feed(first, error)
    second = start_of(110) if kind == "start" else plateau()
    second.state = json.loads(json.dumps(first.state))
    for error in errors[90:]:
        feed(second, error)
    assert second.state == whole.state
    assert second.state != first.state
