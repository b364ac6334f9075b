"""The cheapest set of layers to leave in float: a path by first-order estimates, then exact measurements along it."""

from __future__ import annotations

__all__ = ["Limits", "Measured", "PathPoint", "SearchOutcome", "greedy_path", "search"]

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score
from resnet_deploy.quant.noise import NoiseModel, RunningNoise

_NODE_COST = 1e-4
"""Added to every node's cost when gains are weighed: a layer in float costs a change of type even where it computes
next to nothing, so free layers are not taken for gains that are next to nothing."""
_LEAST_GAIN = 1e-7
_CHEAPER_TRIALS = 8
_CHEAPER_FAILURES = 4
_WORTHWHILE = 2e-3
"""A set that is cheaper by less is not worth a measurement."""
_REPAIR_TRIALS = 6
_FRONT_PARTS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a candidate must hold.

    Attributes:
        max_drop: Points of top-1 that it may lose; None asks nothing.
        min_agreement: Share of images on which it must choose the class that FP32 chooses; None asks nothing.
        confident: Ask it of the unfavourable end of the 95 % interval, not of the figure itself.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    confident: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.max_drop is None and self.min_agreement is None:
            problems.append("neither max_drop nor min_agreement is given")
        if self.max_drop is not None and not -100 <= self.max_drop <= 100:
            problems.append(f"max_drop is {self.max_drop} points, expected at most 100")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            problems.append(f"min_agreement is {self.min_agreement}, expected a share from 0 to 1")
        if problems:
            raise ConfigError(
                "budget: " + "; ".join(problems), remedy="for example --max-drop 0.1 --min-agreement 0.99"
            )

    def margin(self, score: Score) -> float:
        """How much better than the limits a score is, in shares of the images; negative where it breaks one."""
        margins = []
        if self.min_agreement is not None:
            margins.append((score.agreement_low if self.confident else score.agreement) - self.min_agreement)
        if self.max_drop is not None:
            drop = score.drop_high if self.confident else score.drop
            margins.append(-1.0 if drop is None else (self.max_drop - drop) / 100)
        return min(margins)

    def hold(self, score: Score) -> bool:
        """Whether a score holds them."""
        return self.margin(score) >= 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PathPoint:
    """One step of the greedy path.

    Attributes:
        float_nodes: All nodes in float after it, sorted.
        cost: Their share of the cost.
        predicted_agreement: By the noise model.
    """

    float_nodes: tuple[str, ...]
    cost: float
    predicted_agreement: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A set of float nodes and its exact score."""

    float_nodes: tuple[str, ...]
    cost: float
    score: Score


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """Where the search ended.

    Attributes:
        chosen: The cheapest set found that holds the limits; the nearest to them where none does.
        met: Whether it holds them.
        measured: Everything that was measured, by cost.
    """

    chosen: Measured
    met: bool
    measured: tuple[Measured, ...]


def greedy_path(
    noise: NoiseModel,
    candidates: Sequence[tuple[str, ...]],
    costs: Mapping[str, float],
    *,
    keep_one_of: Collection[str],
    start: Collection[str] = (),
) -> tuple[PathPoint, ...]:
    """From `start` on, always the candidate that spares the most predicted flips for its cost.

    Args:
        candidates: Sets of nodes that go to float together; they may overlap.
        costs: Node -> share of all cost; a node that is missing costs nothing.
        keep_one_of: The path ends before all of these are in float.
        start: Nodes that are in float from the first point on.
    """
    running = RunningNoise(noise, start)
    spared = set(start)
    flips = float(noise.tail(running.variance).mean())
    path = [_point(spared, costs, 1 - flips)]
    while True:
        best, best_value, best_flips = None, 0.0, flips
        for candidate in candidates:
            added = [node for node in candidate if node not in spared]
            if not added or spared.union(added) >= set(keep_one_of):
                continue
            after = float(noise.tail(running.without(added)).mean())
            price = sum(costs.get(node, 0.0) + _NODE_COST for node in added)
            if flips - after > _LEAST_GAIN and (flips - after) / price > best_value:
                best, best_value, best_flips = added, (flips - after) / price, after
        if best is None:
            return tuple(path)
        running.spare(best)
        spared.update(best)
        flips = best_flips
        path.append(_point(spared, costs, 1 - flips))


def search(
    path: Sequence[PathPoint],
    limits: Limits,
    measure: Callable[[tuple[str, ...]], Score],
    *,
    costs: Mapping[str, float],
    noise: NoiseModel,
    confirm: Callable[[tuple[str, ...]], Score] | None = None,
    progress: Progress = NO_PROGRESS,
) -> SearchOutcome:
    """Find the first point of the path that holds the limits, take out what it does not need, and confirm it.

    `confirm` is called last for the set that is returned, so what it wrote is that set's.

    Args:
        measure: The exact score of a set of float nodes.
        confirm: The score that counts in the end, where that is a dearer one; where a set fails it, a better
            one is tried.
    """
    seen: dict[tuple[str, ...], Measured] = {}

    def look(nodes: tuple[str, ...]) -> Measured:
        if nodes not in seen:
            seen[nodes] = Measured(float_nodes=nodes, cost=_cost(nodes, costs), score=measure(nodes))
            progress.advance(note=f"agreement {seen[nodes].score.agreement:.4f}, cost {seen[nodes].cost:.3f}")
        return seen[nodes]

    place = _first_that_holds(path, limits, look)
    chosen = None
    if place is not None:
        _cheapened(look(path[place].float_nodes), path[0].float_nodes, limits, look, noise, costs)
        _fill_front(path, place, look)
        chosen = _confirmed(seen, path[place:], limits, look, confirm or measure)
    else:
        _fill_front(path, None, look)
    met = chosen is not None
    if chosen is None:
        chosen = min(seen.values(), key=lambda m: (-limits.margin(m.score), m.cost))
        chosen = Measured(
            float_nodes=chosen.float_nodes, cost=chosen.cost, score=(confirm or measure)(chosen.float_nodes)
        )
        met = limits.hold(chosen.score)
    return SearchOutcome(chosen=chosen, met=met, measured=tuple(sorted(seen.values(), key=lambda m: m.cost)))


def _fill_front(path: Sequence[PathPoint], place: int | None, look: Callable[[tuple[str, ...]], Measured]) -> None:
    """Measure between the start and the end of the search too, so that the picture shows what a smaller budget buys."""
    end = len(path) - 1 if place is None else place
    first, last = path[0].predicted_agreement, path[end].predicted_agreement
    for part in range(1, _FRONT_PARTS):
        wanted = first + (last - first) * part / _FRONT_PARTS
        nearest = min(path[: end + 1], key=lambda point: abs(point.predicted_agreement - wanted))
        look(nearest.float_nodes)


def _first_that_holds(
    path: Sequence[PathPoint], limits: Limits, look: Callable[[tuple[str, ...]], Measured]
) -> int | None:
    """Bisection for the smallest place that holds the limits, as if all after it did; the estimate gives the start."""
    if limits.hold(look(path[0].float_nodes).score):
        return 0
    wanted = limits.min_agreement or 0.0
    guess = next((i for i, point in enumerate(path) if point.predicted_agreement >= wanted), len(path) - 1)
    fails, holds, probe, step = 0, None, max(1, guess), 1
    while fails < len(path) - 1 and (holds is None or holds - fails > 1):
        if limits.hold(look(path[probe].float_nodes).score):
            holds = probe
        else:
            fails = probe
        if holds is None:  # gallop to the first that holds, then halve
            probe, step = min(len(path) - 1, fails + step), 2 * step
        else:
            probe = max(fails + 1, holds - step) if fails == 0 else (fails + holds) // 2
            step *= 2
    return holds


def _cheapened(
    start: Measured,
    fixed: Collection[str],
    limits: Limits,
    look: Callable[[tuple[str, ...]], Measured],
    noise: NoiseModel,
    costs: Mapping[str, float],
) -> Measured:
    """Take nodes back to int8, or exchange one for a cheaper one, while the limits hold; `fixed` stay in float.

    The noise model proposes: what it takes to lose no more than the set has to spare, the cheapest first.
    """
    best, failed = start, set()
    for _ in range(_CHEAPER_TRIALS):
        proposals = [nodes for nodes in _cheaper(best, fixed, limits, noise, costs) if nodes not in failed]
        if not proposals or len(failed) == _CHEAPER_FAILURES:
            break
        trial = look(proposals[0])
        if limits.hold(trial.score):
            best = trial
        else:
            failed.add(proposals[0])
    return best


def _cheaper(
    best: Measured, fixed: Collection[str], limits: Limits, noise: NoiseModel, costs: Mapping[str, float]
) -> list[tuple[str, ...]]:
    """Sets with one node less, or another one in its place, that are predicted to hold the limits, by cost."""
    allowed = float(noise.flips(best.float_nodes).mean()) + max(0.0, limits.margin(best.score))
    inside = set(best.float_nodes)
    outside = sorted({source.node for source in noise.sources} - inside)
    found = []
    for gone in sorted(inside.difference(fixed)):
        rest = inside - {gone}
        running = RunningNoise(noise, rest)
        for added in ((), *((node,) for node in outside)):
            cost = _cost((*rest, *added), costs)
            if cost > best.cost - _WORTHWHILE:
                continue
            if float(noise.tail(running.without(added)).mean()) <= allowed:
                found.append((cost, tuple(sorted((*rest, *added)))))
    return [nodes for _, nodes in sorted(found)]


def _confirmed(
    seen: Mapping[tuple[str, ...], Measured],
    ahead: Sequence[PathPoint],
    limits: Limits,
    look: Callable[[tuple[str, ...]], Measured],
    confirm: Callable[[tuple[str, ...]], Score],
) -> Measured | None:
    """The cheapest set seen that the confirming score holds, too; None where none did.

    Where a set fails, the next one must have measured better by as much as the confirming score was worse. When no
    set that was seen is that good, the path is followed further.
    """
    failed: set[tuple[str, ...]] = set()
    needed, trials, further = 0.0, 0, iter(ahead[1:])
    while trials < _REPAIR_TRIALS:
        good = [m for m in seen.values() if m.float_nodes not in failed and limits.margin(m.score) >= needed]
        if not good:
            point = next(further, None)
            if point is None:
                return None
            look(point.float_nodes)
            continue
        found = min(good, key=lambda m: (m.cost, len(m.float_nodes)))
        score = confirm(found.float_nodes)
        trials += 1
        if limits.hold(score):
            return Measured(float_nodes=found.float_nodes, cost=found.cost, score=score)
        failed.add(found.float_nodes)
        needed = max(needed, limits.margin(found.score) - limits.margin(score))
    return None


def _point(nodes: Collection[str], costs: Mapping[str, float], predicted: float) -> PathPoint:
    ordered = tuple(sorted(nodes))
    return PathPoint(float_nodes=ordered, cost=_cost(ordered, costs), predicted_agreement=predicted)


def _cost(nodes: Collection[str], costs: Mapping[str, float]) -> float:
    return sum(costs.get(node, 0.0) for node in nodes)
