"""The search against every subset tried: what it returns passes, and fails without any one of its units."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.verify.faults.bisection import BudgetSpent, Search, shrink

UNITS = tuple("abcdefghij")


def _monotone(needed: list[set[str]]):
    return lambda names: any(group <= set(names) for group in needed)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sets(st.sampled_from(UNITS), min_size=1, max_size=4), min_size=1, max_size=3))
def test_an_irreducible_set_is_found_whatever_units_interact(needed) -> None:
    """Oracle: all subsets of ten units; the minimal passing ones are enumerated."""
    passes = _monotone(needed)
    every = [set(c) for size in range(len(UNITS) + 1) for c in itertools.combinations(UNITS, size) if passes(c)]
    minimal = [one for one in every if not any(other < one for other in every)]
    assert set(shrink(UNITS, passes)) in minimal


@pytest.mark.parametrize("num_units", [7, 18, 70])
def test_one_fault_takes_about_two_logarithms(num_units) -> None:
    units = tuple(f"u{i}" for i in range(num_units))
    most = 2 * math.ceil(math.log2(num_units)) + 4
    for fault in units:
        search = Search(lambda names, fault=fault: fault in names, max_tried=1000)
        assert shrink(units, search.passes) == (fault,)
        assert search.num_tried <= most


def test_two_faults_stay_within_quickxplains_bound() -> None:
    units = tuple(f"u{i}" for i in range(64))
    for pair in itertools.islice(itertools.combinations(units, 2), 0, None, 37):
        search = Search(lambda names, pair=pair: set(pair) <= set(names), max_tried=1000)
        assert set(shrink(units, search.passes)) == set(pair)
        assert search.num_tried <= 2 * 2 * math.log2(64 / 2) + 2 * 2 + 3  # and nothing, and each left out


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_check_that_is_not_monotonic_still_gives_a_set_that_passed(random) -> None:
    known = {frozenset(): False, frozenset(UNITS): True}

    def passes(names) -> bool:
        return known.setdefault(frozenset(names), random.random() < 0.5)

    found = shrink(UNITS, passes)
    assert known[frozenset(found)]


def test_the_budget_is_kept_and_the_smallest_set_that_passed_is_remembered() -> None:
    search = Search(lambda names: "c" in names, max_tried=4)
    assert search.passes(UNITS) and not search.passes(())
    with pytest.raises(BudgetSpent):
        shrink(UNITS, search.passes)
    assert search.num_tried == 4 and "c" in search.best and len(search.best) < len(UNITS)
    assert search.passes(UNITS)  # known, so free
    with pytest.raises(ConfigError, match="1 evaluations"):
        Search(lambda _: True, max_tried=1)
