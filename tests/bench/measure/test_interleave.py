"""Turns on a machine of our own: its clock, its drift and its noise are known, and so is what differs."""

from __future__ import annotations

import numpy as np

from resnet_deploy.bench.measure.interleave import compare_turns, take_turns
from resnet_deploy.bench.measure.timing import Sampling

_SAMPLING = Sampling(min_seconds=0.5, min_samples=10, max_seconds=2.0)


class Machine:
    """Noise that lasts for some fifty passes, noise of each pass, spikes, and a drift of 10 % a second, for all alike."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.now, self._slow = 0.0, 0.0
        self.turns: list[tuple[float, int]] = []

    def clock(self) -> float:
        return self.now

    def loop(self, base: float):
        def run(count: int) -> np.ndarray:
            self.turns.append((base, count))
            draws = self._rng.standard_normal((count, 2))
            spikes = np.where(self._rng.random(count) < 0.02, 1 + 3 * self._rng.random(count), 1.0)
            seconds = np.empty(count)
            for i in range(count):
                self._slow = 0.98 * self._slow + 0.2 * draws[i, 0]
                seconds[i] = base * np.exp(0.05 * self._slow + 0.03 * draws[i, 1]) * (1 + 0.1 * self.now) * spikes[i]
                self.now += seconds[i]
            return seconds

        return run


def _ratio(seed: int, extra: float):
    machine = Machine(seed)
    loops = [machine.loop(0.002), machine.loop(0.002 * (1 + extra))]
    return compare_turns(*take_turns(loops, sampling=_SAMPLING, seed=seed, clock=machine.clock))


def test_a_runner_against_itself_is_no_difference_at_least_95_times_in_100() -> None:
    assert sum(not _ratio(seed, 0.0).differs for seed in range(100)) >= 95


def test_a_planted_difference_of_a_tenth_is_found_with_its_size() -> None:
    found = [_ratio(seed, 0.1) for seed in range(30)]
    assert sum(ratio.differs for ratio in found) >= 27
    assert sum(ratio.low <= 1.1 <= ratio.high for ratio in found) >= 27
    assert abs(np.median([ratio.ratio for ratio in found]) - 1.1) < 0.01


def test_an_unpaired_comparison_would_take_the_drift_for_a_difference() -> None:
    machine = Machine(1)
    first, other = (np.median(machine.loop(0.005)(200)) for _ in range(2))
    assert other / first > 1.03  # what the turns are for


def test_every_round_has_all_runners_and_the_next_one_the_reverse_order() -> None:
    machine = Machine(0)
    bases = (0.004, 0.005, 0.006)
    sides = take_turns([machine.loop(base) for base in bases], sampling=_SAMPLING, clock=machine.clock)
    turns = [base for base, _ in machine.turns][-3 * len(sides[0].turns) :]
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(one) == list(bases) for one in rounds)
    assert all(one == other[::-1] for one, other in zip(rounds[::2], rounds[1::2], strict=True))
    assert len({tuple(one) for one in rounds[::2]}) > 1 and len(rounds) >= 20


def test_the_first_passes_of_a_turn_are_not_counted() -> None:
    machine = Machine(0)
    plain = machine.loop(0.005)

    def cold(count: int) -> np.ndarray:
        seconds = plain(count)
        seconds[0] *= 10
        return seconds

    cold_side, side = take_turns([cold, plain], sampling=_SAMPLING, clock=machine.clock)
    assert max(turn[0] for turn in cold_side.turns) < 0.04 and not compare_turns(cold_side, side).differs


def test_slow_networks_end_at_the_limit_with_six_rounds() -> None:
    machine = Machine(0)
    sides = take_turns([machine.loop(0.4), machine.loop(0.4)], sampling=_SAMPLING, clock=machine.clock)
    assert len(sides[0].turns) == 6 and all(len(turn) == 4 for turn in sides[0].turns)
