from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.bench.advisor.advice import SpeedBasis
from resnet_deploy.bench.advisor.pareto import pareto_set
from tests.bench.advisor.conftest import an_option

_FEW = st.sampled_from([0.5, 1.0, 1.5, 2.0])  # few values, so that ties are common
_OPTIONS = st.lists(
    st.builds(
        an_option,
        latency_ms=_FEW,
        images_per_second=_FEW,
        top1=st.none() | _FEW,
        joules=st.none() | _FEW,
        basis=st.sampled_from(SpeedBasis),
        likely_ms=st.none() | _FEW,
    ),
    max_size=10,
)


def _beats(a, b) -> bool:
    """Dominance spelled out, one figure at a time."""

    def figures(o):
        inf = float("inf")
        top1 = o.accuracy.top1_percent
        return {
            "latency": o.speed.latency_ms,
            "throughput": -o.speed.images_per_second,
            "likely latency": o.speed.latency_ms if o.speed.likely_ms is None else o.speed.likely_ms,
            "error": inf if top1 is None else 100 - top1,
            "energy": inf if o.speed.joules_per_image is None else o.speed.joules_per_image,
            "doubt": 2 - o.speed.basis.certainty,
        }

    ours, theirs = figures(a), figures(b)
    worse = [name for name in ours if ours[name] > theirs[name]]
    better = [name for name in ours if ours[name] < theirs[name]]
    return bool(better) and not worse


@settings(max_examples=100, deadline=None)
@given(_OPTIONS)
def test_the_set_is_what_nothing_beats_by_brute_force(options):
    expected = [n for n, own in enumerate(options) if not any(_beats(other, own) for other in options)]
    assert list(pareto_set(options)) == expected


@settings(max_examples=100, deadline=None)
@given(_OPTIONS)
def test_whatever_is_left_out_is_beaten_by_something_in_the_set(options):
    front = [options[n] for n in pareto_set(options)]
    for n, option in enumerate(options):
        assert n in pareto_set(options) or any(_beats(other, option) for other in front)


def test_a_bound_never_beats_a_measured_run_but_a_measured_run_beats_a_slower_bound():
    measured = an_option(latency_ms=1.0, basis=SpeedBasis.MEASURED)
    faster_bound = an_option(latency_ms=0.1, images_per_second=9000.0, top1=80.0, basis=SpeedBasis.BOUND)
    slower_bound = an_option(latency_ms=1.1, images_per_second=900.0, basis=SpeedBasis.BOUND)
    assert pareto_set([measured, faster_bound, slower_bound]) == (0, 1)


def test_an_unknown_top1_is_never_taken_for_a_good_one():
    known = an_option(top1=10.0)
    unknown = an_option(top1=None)
    assert pareto_set([known, unknown]) == (0,)
    assert pareto_set([known, replace(unknown, speed=replace(unknown.speed, latency_ms=0.5))]) == (0, 1)


def test_nothing_has_an_empty_front():
    assert pareto_set([]) == ()
