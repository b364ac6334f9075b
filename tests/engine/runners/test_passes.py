from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo, ShapeProfile
from resnet_deploy.engine.runners.passes import filled_size, graph_sizes, plan_passes, profile_index, why_not_one_pass

ROW = (3, 8, 8)


def info(*ranges: tuple[int, int], fixed: int | None = None, max_batch: int | None = None) -> RunnerInfo:
    spec = TensorSpec(name="images", dtype="float32", shape=(fixed or "N", *ROW))
    profiles = tuple(ShapeProfile(min=(a, *ROW), opt=(a, *ROW), max=(b, *ROW)) for a, b in ranges)
    return RunnerInfo(
        backend="torch",
        version="1",
        device="cpu",
        file="net",
        inputs=(spec,),
        outputs=(),
        profiles=profiles,
        max_batch=max((b for _, b in ranges), default=max_batch),
    )


@pytest.mark.parametrize(
    ("network", "count", "sizes"),
    [
        (info(), 1000, [1000]),
        (info(max_batch=4), 9, [4, 4, 1]),
        (info(fixed=4), 9, [4, 4, 4]),
        (info(fixed=4), 2, [4]),
        (info((4, 8)), 2, [4]),
        (info((4, 8)), 10, [8, 4]),
        (info((1, 8), (16, 32)), 9, [16]),
        (info((1, 8), (16, 32)), 40, [32, 8]),
        (info((4, 8), (1, 16)), 2, [2]),
    ],
)
def test_a_call_becomes_as_few_passes_as_hold_it(network: RunnerInfo, count: int, sizes: list[int]) -> None:
    assert [one.size for one in plan_passes(network, count, ROW)] == sizes


_RANGES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair))), min_size=1, max_size=4
)


@given(ranges=_RANGES, count=st.integers(1, 200))
def test_every_row_is_in_one_pass_and_every_pass_in_a_profile(ranges: list[tuple[int, int]], count: int) -> None:
    passes = plan_passes(info(*ranges), count, ROW)
    assert [row for one in passes for row in range(one.start, one.stop)] == list(range(count))
    for one in passes:
        assert one.size >= one.stop - one.start
        assert profile_index(info(*ranges).profiles, (one.size, *ROW)) is not None


@given(ranges=_RANGES, count=st.integers(1, 90))
def test_one_pass_can_be_timed_exactly_when_it_is_planned_as_it_is(ranges: list[tuple[int, int]], count: int) -> None:
    network = info(*ranges)
    passes = plan_passes(network, count, ROW)
    assert (why_not_one_pass(network, count) == "") == (len(passes) == 1 and passes[0].size == count)


def test_why_a_batch_is_not_one_pass_is_said_in_the_files_terms() -> None:
    assert why_not_one_pass(info(fixed=4), 1) == "this file takes a batch of 4 alone, not 1"
    assert why_not_one_pass(info((1, 8)), 9) == "batch 9 is over this file's largest, 8"
    assert (
        why_not_one_pass(info((1, 2), (8, 9)), 4)
        == "batch 4 is in no optimization profile of this file (1 to 2, 8 to 9)"
    )
    assert why_not_one_pass(info(fixed=4), 4) == why_not_one_pass(info(), 9) == ""


def test_the_tightest_profile_is_taken_then_the_one_tuned_nearest() -> None:
    def profile(low: int, usual: int, high: int, side: int = 8) -> ShapeProfile:
        return ShapeProfile(min=(low, 3, 8, 8), opt=(usual, 3, side, side), max=(high, 3, side, side))

    profiles = (profile(1, 32, 32), profile(1, 1, 32), profile(1, 4, 4), profile(1, 1, 1, side=64))
    assert [profile_index(profiles, (count, *ROW)) for count in (1, 4, 5, 17, 32)] == [2, 2, 1, 0, 0]
    assert profile_index(profiles, (1, 3, 16, 16)) == 3
    assert profile_index(profiles, (33, *ROW)) is profile_index(profiles, (1, 3, 65, 65)) is None


def test_rows_of_a_size_without_a_profile_are_refused() -> None:
    with pytest.raises(EngineRunError, match=r"images of \[3, 9, 9\], they hold \[3, 8, 8\] to \[3, 8, 8\]"):
        plan_passes(info((1, 8)), 1, (3, 9, 9))


def test_graph_sizes_are_the_profiles_own_and_powers_of_two_between() -> None:
    sizes = graph_sizes(ShapeProfile(min=(3, *ROW), opt=(24, *ROW), max=(48, *ROW)))
    assert sizes == (3, 4, 8, 16, 24, 32, 48)


def test_only_a_few_rows_are_filled_in() -> None:
    sizes = (1, 2, 4, 8, 16, 32, 64)
    assert [filled_size(sizes, count) for count in (1, 3, 5, 8, 9, 12, 13, 17, 23, 24, 48, 64, 65)] == (
        [1, 4, 8, 8, None, 16, 16, None, None, 32, 64, 64, None]
    )
