"""Runners that take turns, A B B A, so that whatever changes slowly on the machine meets all of them alike."""

from __future__ import annotations

__all__ = ["Interleaved", "TurnSamples", "compare_turns", "take_turns"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from resnet_deploy.bench.machine.validity import VALID, Validity
from resnet_deploy.bench.machine.watch import NO_WATCH, Watcher
from resnet_deploy.bench.measure.paired import Ratio, ratio_of_rounds
from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.bench.measure.warmup import WarmUp, round_seconds_of, warm_up

_ROUNDS = 20
_LEAST_ROUNDS = 6
_TURN_PASSES = 4  # at least; two halves of two
_LEAD_IN = 4  # one pass of so many, and at least one, is not counted: the other runner's data is in the caches
_FLIPS = 2000
_Q95 = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Interleaved:
    """One file against the first, measured in turns.

    Attributes:
        first, other: Which files, with their backends.
        ratio: Time of `other` over that of `first`, median pass of a turn by median pass of the turn beside it.
        says: The verdict in one sentence.
    """

    first: str
    other: str
    batch: int
    threads: int
    ratio: Ratio
    says: str
    validity: Validity = VALID


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnSamples:
    """One runner's share: seconds of the passes of each of its turns, [passes] each, in order."""

    turns: tuple[np.ndarray, ...]
    warmup: WarmUp


def take_turns(
    loops: Sequence[Callable[[int], np.ndarray]],
    *,
    sampling: Sampling,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    watch: Watcher = NO_WATCH,
) -> list[TurnSamples]:
    """Rounds in which each runner has one turn, in an order that is drawn for one round and reversed for the next.

    There are at least 20 rounds and at least `sampling.min_seconds` for each runner, unless `sampling.max_seconds` for
    each is over before; six rounds are always made.

    Args:
        loops: Run that many passes of one runner and give their seconds.
        watch: As in `timing.measure`; of all runners together.
    """
    warmups, passes = [], []
    for loop in loops:
        warmup, per_pass = warm_up(
            loop, round_seconds=round_seconds_of(sampling.min_seconds), max_seconds=sampling.max_seconds, clock=clock
        )
        warmups.append(warmup)
        passes.append(max(_TURN_PASSES, int(sampling.min_seconds / _ROUNDS / per_pass)))
    turns: list[list[np.ndarray]] = [[] for _ in loops]
    rng, order = np.random.default_rng(seed), np.arange(len(loops))
    watch.begin()
    start, rounds = clock(), 0
    while True:
        order = rng.permutation(len(loops)) if rounds % 2 == 0 else order[::-1]
        for index in order:
            lead_in = max(1, passes[index] // _LEAD_IN)
            turns[index].append(loops[index](passes[index] + lead_in)[lead_in:])
        rounds += 1
        each = (clock() - start) / len(loops)
        if rounds >= _ROUNDS and rounds % 2 == 0 and each >= sampling.min_seconds:
            break
        if rounds >= _LEAST_ROUNDS and each >= sampling.max_seconds:
            break
        watch.between()
    watch.end()
    return [TurnSamples(turns=tuple(mine), warmup=warmup) for mine, warmup in zip(turns, warmups, strict=True)]


def compare_turns(first: TurnSamples, other: TurnSamples) -> Ratio:
    """Time of `other` over that of `first`."""
    logs = [np.log([np.median(turn) for turn in side.turns]) for side in (first, other)]
    floor = max(turns_noise_floor(first), turns_noise_floor(other))
    return ratio_of_rounds(logs[1] - logs[0], noise_floor=floor)


def turns_noise_floor(side: TurnSamples, *, seed: int = 0) -> float:
    """A/A within the turns of one runner: 95 % quantile of |ratio - 1| of every second pass over the passes between.

    Which half is called A is drawn for every turn; with nothing to find, each way is equally likely.
    """
    logs = np.array([np.log(np.median(turn[::2]) / np.median(turn[1::2])) for turn in side.turns])
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(_FLIPS, len(logs)))
    return float(np.quantile(np.exp(np.abs(signs @ logs) / len(logs)) - 1, _Q95))
