"""The search on a made-up network whose score is known for every set of float layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.score import Score
from resnet_deploy.quant.budget_search import Limits, PathPoint, greedy_path, search
from resnet_deploy.quant.noise import NoiseModel, NoiseSource

COSTS = {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}
EFFECTS = {"a": 0.6, "b": 0.5, "c": 0.25, "d": 0.15}


def _noise() -> NoiseModel:
    """Margins spread evenly up to 20: about 0.02 sigma of the images flip; all int8 0.0167, only d int8 0.003."""
    margins = np.linspace(0, 20, 2001)[1:]
    return NoiseModel(
        sources=tuple(NoiseSource(node=name, tensor=name, is_weight=False) for name in EFFECTS),
        effects=np.array([[effect] for effect in EFFECTS.values()], np.float32) * np.ones_like(margins, np.float32),
        margins=margins,
        top1=np.zeros(len(margins), np.int64),
        top2=np.ones(len(margins), np.int64),
    )


def _score(agreement: float, *, drop: float | None = None) -> Score:
    return Score(
        num_images=1000,
        num_agreeing=round(1000 * agreement),
        agreement=agreement,
        agreement_low=agreement - 0.004,
        agreement_high=agreement + 0.004,
        num_nonfinite=0,
        sqnr_db=30.0,
        drop=drop,
        drop_high=None if drop is None else drop + 0.5,
    )


def _measure(nodes: tuple[str, ...]) -> Score:
    return _score(1 - float(_noise().flips(nodes).mean()))


def _path() -> tuple[PathPoint, ...]:
    return greedy_path(_noise(), [(name,) for name in EFFECTS], COSTS, keep_one_of=list(EFFECTS))


def _found(limits: Limits, **others):
    return search(_path(), limits, others.pop("measure", _measure), costs=COSTS, noise=_noise(), **others)


def test_the_path_takes_the_best_gain_for_its_cost_and_leaves_one_layer() -> None:
    path = _path()
    assert path[0].float_nodes == () and path[1].float_nodes == ("a",)
    assert len(path[-1].float_nodes) == 3
    predicted = [point.predicted_agreement for point in path]
    assert predicted == sorted(predicted)
    assert [point.cost for point in path] == pytest.approx([sum(COSTS[n] for n in p.float_nodes) for p in path])


def test_the_path_starts_at_what_the_user_keeps_and_weighs_groups() -> None:
    path = greedy_path(_noise(), [("a", "b"), ("c",)], COSTS, keep_one_of=list(EFFECTS), start=("d",))
    assert path[0].float_nodes == ("d",) and path[1].float_nodes == ("a", "b", "d")


def test_a_free_layer_of_no_use_stays_in_int8() -> None:
    silent = _noise()
    silent.effects[1] = 0
    path = greedy_path(silent, [(name,) for name in EFFECTS], COSTS | {"b": 0.0}, keep_one_of=["a", "b", "c", "d"])
    assert all("b" not in point.float_nodes for point in path)


@pytest.mark.parametrize("agreement", [0.98, 0.985, 0.988, 0.9887, 0.9892, 0.993, 0.9945, 0.996])
def test_the_set_that_is_found_is_the_cheapest_of_all_sets(agreement: float) -> None:
    outcome = _found(Limits(min_agreement=agreement))
    sets = [nodes for count in range(4) for nodes in combinations(EFFECTS, count)]  # oracle: all of them
    holding = [nodes for nodes in sets if _measure(nodes).agreement >= agreement]
    assert outcome.met and outcome.chosen.score.agreement >= agreement
    assert outcome.chosen.cost == pytest.approx(min(sum(COSTS[node] for node in nodes) for nodes in holding))


def test_the_confident_limit_needs_more_float_layers() -> None:
    limits = Limits(min_agreement=0.987)
    assert _found(limits).chosen.cost < _found(replace(limits, confident=True)).chosen.cost


def test_a_limit_that_nothing_holds_gives_the_nearest_and_says_so() -> None:
    confirmed = []
    outcome = _found(Limits(min_agreement=1.0), confirm=lambda nodes: confirmed.append(nodes) or _measure(nodes))
    best = max(outcome.measured, key=lambda m: m.score.agreement)
    assert not outcome.met and outcome.chosen.float_nodes == best.float_nodes == confirmed[-1]


def test_a_set_that_fails_when_it_is_delivered_gives_way_to_a_better_one() -> None:
    """The delivered file is 0.002 worse than what was measured, so the set that seemed to do is not enough."""
    confirmed = []

    def deliver(nodes: tuple[str, ...]) -> Score:
        confirmed.append(nodes)
        return _score(_measure(nodes).agreement - 0.002)

    outcome = _found(Limits(min_agreement=0.988), confirm=deliver)
    assert outcome.met and confirmed[0] == ("a",) and len(confirmed) > 1
    assert outcome.chosen.float_nodes == confirmed[-1] and outcome.chosen.score.agreement >= 0.988


def test_a_delivered_file_that_always_fails_is_never_called_met() -> None:
    outcome = _found(Limits(min_agreement=0.98), confirm=lambda nodes: _score(0.5))
    assert not outcome.met and outcome.chosen.score.agreement == 0.5


def test_no_set_is_measured_twice() -> None:
    seen = []
    outcome = _found(
        Limits(min_agreement=0.99), measure=lambda nodes: seen.append(nodes) or _measure(nodes), confirm=_measure
    )
    assert len(seen) == len(set(seen)) == len(outcome.measured)


def test_the_drop_is_held_too_and_an_unknown_drop_never_holds() -> None:
    limits = Limits(max_drop=0.1)
    assert limits.hold(_score(0.5, drop=0.1)) and not limits.hold(_score(1.0, drop=0.11))
    assert not replace(limits, confident=True).hold(_score(1.0, drop=0.1))
    assert not limits.hold(_score(1.0))


@pytest.mark.parametrize(
    ("limits", "message"),
    [({}, "neither"), ({"min_agreement": 99.0}, "min_agreement is 99.0"), ({"max_drop": 101.0}, "max_drop is 101.0")],
)
def test_limits_out_of_range_are_refused(limits: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Limits(**limits)
