from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.verify.statistics.sequential import SequentialTest, random_order


def _run(flips, lost, won, *, max_drop: float | None = 0.5, min_agreement: float = 0.97, batch: int = 100):
    """Look after every batch of so many images; flips, lost and won say of every image whether it is one."""
    test = SequentialTest(max_drop=max_drop, min_agreement=min_agreement, level=0.05, num_available=len(flips))
    for end in range(batch, len(flips) + batch, batch):
        seen = min(end, len(flips))
        if test.look(seen, int(flips[:seen].sum()), int(lost[:seen].sum()), int(won[:seen].sum())):
            break
    return test


def _images(p_lost: float, p_won: float, count: int = 10_000, seed: int = 0) -> tuple[np.ndarray, ...]:
    drawn = np.random.default_rng(seed).random(count)
    lost, won = drawn < p_lost, drawn > 1 - p_won
    return lost | won, lost, won


def test_equal_networks_are_certain_after_a_fraction_of_the_images() -> None:
    run = _run(*_images(0, 0)).result()
    assert run.stopped_early and run.num_images < 3000 and run.num_looks == run.num_images / 100
    assert run.reason == "the drop is under 0.5 points and the agreement is over 97 %"
    assert run.drop_low < 0 < run.drop_high < 0.5 and run.agreement_low > 97


def test_a_large_drop_is_certain_soon() -> None:
    run = _run(*_images(0.04, 0.0)).result()
    assert run.stopped_early and run.num_images <= 1500 and run.reason == "the drop is over 0.5 points"
    assert run.drop_low > 0.5


def test_too_many_flips_are_certain_though_nothing_is_lost() -> None:
    test = _run(*_images(0.1, 0.1))
    assert test.result().reason == "the agreement is under 97 %" and test.result().agreement_high < 97


def test_a_drop_at_its_limit_goes_to_the_end() -> None:
    run = _run(*_images(0.010, 0.005, count=5000, seed=2)).result()
    assert not run.stopped_early and run.num_images == 5000 and "did not decide" in run.reason


def test_without_labels_the_agreement_alone_decides() -> None:
    run = _run(*_images(0.04, 0.0), max_drop=None).result()
    assert run.drop_low is None and run.drop_high is None
    run = _run(*_images(0, 0), max_drop=None).result()
    assert run.stopped_early and run.reason == "the agreement is over 97 %"


def test_what_was_once_certain_remains_so() -> None:
    test = SequentialTest(max_drop=2.0, min_agreement=0.97, level=0.05, num_available=1000)
    test.look(400, 14, 0, 0)  # no image lost: the drop is under 2 points; the agreement is not decided
    assert test.drop_bounds()[1] < 2 and not test.result().reason.startswith("the drop")
    test.look(600, 40, 20, 0)  # a bad stretch: these counts alone would not say so
    assert test.drop_bounds()[1] < 2
    fresh = SequentialTest(max_drop=2.0, min_agreement=0.97, level=0.05, num_available=1000)
    fresh.look(600, 40, 20, 0)
    assert fresh.drop_bounds()[1] > 2


def test_a_two_sided_interval_is_wider_than_one_sided_bounds() -> None:
    test = SequentialTest(max_drop=0.5, min_agreement=0.97, level=0.05, num_available=1000)
    test.look(900, 20, 8, 12)
    (low, high), (lowest, highest) = test.drop_bounds(), test.drop_interval()
    assert lowest < low < high < highest


def test_the_order_is_random_whole_and_the_same_for_a_seed() -> None:
    order = random_order(500, 3)
    assert sorted(order.tolist()) == list(range(500)) and order.tolist() != list(range(500))
    assert (order == random_order(500, 3)).all() and (order != random_order(500, 4)).any()


def test_wrong_verdicts_are_as_rare_as_the_level_says() -> None:
    # The drop is at its limit, so either "under" or "over" is an error; each at most 5 %. 150 runs: 3 standard errors
    # of the 10 % of both are 7.3 points.
    wrong = 0
    for seed in range(150):
        wrong += _run(*_images(0.0075, 0.0025, count=3000, seed=seed), batch=250).result().stopped_early
    assert wrong / 150 <= 0.10 + 0.073


@pytest.mark.parametrize("p_lost", [0.0, 0.03])
def test_the_batch_changes_when_it_stops_not_what_it_finds(p_lost: float) -> None:
    reasons = {_run(*_images(p_lost, 0.0), batch=batch).result().reason for batch in (50, 333, 1000)}
    assert len(reasons) == 1


def test_limits_that_any_or_no_network_meets_are_decided() -> None:
    assert _run(*_images(0.1, 0.1), max_drop=100.0, min_agreement=0.0).result().num_images == 100
    run = _run(*_images(0.01, 0.01), min_agreement=1.0).result()
    assert run.stopped_early and run.reason == "the agreement is under 100 %"
