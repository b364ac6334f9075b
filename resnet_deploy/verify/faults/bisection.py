"""Bisection: the fewest units that must be replaced for a check to pass, with interacting faults found, too."""

from __future__ import annotations

__all__ = ["BudgetSpent", "Search", "Subset", "shrink"]

from collections.abc import Callable, Iterable, Sequence

from resnet_deploy.core.errors import ConfigError

Subset = frozenset[str]


class BudgetSpent(Exception):
    """As many sets were tried as are allowed; `Search.best` is the smallest that passed."""


class Search:
    """Tries sets of units, each once, and remembers the smallest that passed.

    Args:
        passes: Whether the check passes with these units replaced; costly.
        max_tried: So many different sets may be tried.
    Attributes:
        best: The smallest set that passed, of equally small ones the first; None while none has.
    """

    def __init__(self, passes: Callable[[Subset], bool], *, max_tried: int) -> None:
        if max_tried < 2:
            raise ConfigError(f"{max_tried} evaluations are allowed, expected at least 2: nothing and all replaced")
        self._passes, self._max_tried = passes, max_tried
        self._known: dict[Subset, bool] = {}
        self.best: Subset | None = None

    @property
    def num_tried(self) -> int:
        """Different sets so far."""
        return len(self._known)

    def passes(self, units: Iterable[str]) -> bool:
        """Whether the check passes with these replaced; raises BudgetSpent where no more sets may be tried."""
        key = frozenset(units)
        if key not in self._known:
            if len(self._known) >= self._max_tried:
                raise BudgetSpent
            self._known[key] = self._passes(key)
            if self._known[key] and (self.best is None or len(key) < len(self.best)):
                self.best = key
        return self._known[key]


def shrink(units: Sequence[str], passes: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """An irreducible part of `units` with which the check passes, given that it passes with all and fails with none.

    Halves are tried: if the check fails with one half replaced, something in the other half is needed, however many
    units are at fault and even where only several together pass. For k units of n that are needed, at most
    2 k log2(n / k) + 2 k sets are tried, if more units replaced never make a passing check fail. Where they can (the
    check is a measurement), a last round tries to leave out each unit on its own, so that what is returned passed, and
    failed without any one of its units.

    Args:
        units: In order; of several irreducible parts, one that prefers earlier units is found.
        passes: Takes the units that are replaced.
    Source: Junker, QuickXplain, AAAI 2004, algorithm 1; the last round as in Zeller and Hildebrandt, Simplifying and
        Isolating Failure-Inducing Input, IEEE TSE 28 (2002) 183-200, definition 10 (1-minimal).
    """
    found = _needed([], [], list(units), passes)
    if not passes(found):
        found = list(units)  # the check is not monotonic: begin from what is known to pass
    for unit in list(found):
        without = [other for other in found if other != unit]
        if passes(without):
            found = without
    return tuple(unit for unit in units if unit in found)


def _needed(
    background: list[str], added: Sequence[str], units: list[str], passes: Callable[[Sequence[str]], bool]
) -> list[str]:
    """The part of `units` that is needed beside `background`, of which `added` is new since the last test."""
    if added and passes(background):
        return []
    if len(units) == 1:
        return units
    half = len(units) // 2
    first, second = units[:half], units[half:]
    of_second = _needed([*background, *first], first, second, passes)
    of_first = _needed([*background, *of_second], of_second, first, passes)
    return [*of_first, *of_second]
