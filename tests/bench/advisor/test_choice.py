from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.bench.advisor.accuracy import AccuracyBook
from resnet_deploy.bench.advisor.advice import Needs, SpeedBasis, Standing
from resnet_deploy.bench.advisor.advise import judge_options
from resnet_deploy.bench.advisor.choice import choose
from resnet_deploy.bench.advisor.pareto import pareto_set
from resnet_deploy.bench.advisor.reasons import explain
from resnet_deploy.bench.advisor.speeds import Key
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from tests.bench.advisor.conftest import a_run, a_score, an_option, plain_bound

_NETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_GRID = [Key(net, size, p, batch) for net in _NETS for size in (192, 224) for p in MAIN_PRECISIONS for batch in (1, 8)]


def _answer(needs: Needs, runs=(), scores=(), weights="torchvision-v1", watts=None):
    book = AccuracyBook(scores, weights=weights)
    options = judge_options(_GRID, runs, book, needs, bound_of=plain_bound, target_watts=watts)
    chosen = choose(options, needs)
    return options, chosen, explain(options, needs, chosen)


def test_the_most_accurate_that_likely_meets_the_need_is_chosen():
    needs = Needs(max_latency_ms=1.0, min_top1=70.0)
    options, chosen, reasons = _answer(needs)
    # likely 3 times the bound: resnet101 fp16 0.5 -> 1.5, int8 0.25 -> 0.75; resnet152 int8 0.375 -> 1.125
    assert options[chosen].name == "resnet101 int8 224 px batch 1"
    assert options[chosen].standing is Standing.MEASURE and "only a measurement can tell" in reasons[0]
    assert any(text.startswith("resnet152: more accurate") for text in reasons)
    assert any(text.startswith("resnet18: none of its 12 options") and "69.75" in text for text in reasons)


def test_a_measured_run_overturns_what_the_estimate_recommended():
    needs = Needs(max_latency_ms=1.0, min_top1=70.0)
    slow = a_run("resnet101", p50_ms=2.0, images_per_second=500.0)  # 8 times its bound: so is every other int8
    options, chosen, _ = _answer(needs, runs=[slow])
    assert options[chosen].net != "resnet101" or options[chosen].precision is not Precision.INT8
    failed = next(o for o in options if o.name == "resnet101 int8 224 px batch 1 on tensorrt")
    assert failed.standing is Standing.FAILS
    scaled = next(o for o in options if (o.net, o.precision, o.size_px, o.batch) == ("resnet50", "int8", 224, 1))
    assert scaled.speed.latency_ms == pytest.approx(1.0) and scaled.speed.label == "scaled from 1 measured run"


def test_what_is_measured_to_meet_goes_before_what_may():
    needs = Needs(max_latency_ms=1.0, min_top1=70.0)
    run = a_run("resnet50", p50_ms=0.9, p99_ms=0.95)
    score = a_score("resnet50", Precision.INT8, top1_percent=75.9, low=75.5, high=76.3)
    options, chosen, reasons = _answer(needs, runs=[run], scores=[score])
    assert options[chosen].name == "resnet50 int8 224 px batch 1 on tensorrt"
    assert options[chosen].standing is Standing.MEETS and "meets all needs" in reasons[0]


def test_within_a_tenth_of_a_point_the_faster_is_chosen():
    accurate, faster = an_option(top1=76.15, latency_ms=2.0), an_option(top1=76.10, latency_ms=1.0)
    assert choose([accurate, faster], Needs()) == 1
    assert choose([an_option(top1=76.35, latency_ms=2.0), faster], Needs()) == 0


def test_impossible_needs_have_no_choice_and_say_what_is_nearest():
    options, chosen, reasons = _answer(Needs(max_latency_ms=0.01))
    assert chosen is None and {option.standing for option in options} == {Standing.FAILS}
    assert reasons[0].startswith("no option meets at most 0.01 ms: the nearest is resnet18 int8 192 px batch 1")
    assert "limited by memory" in reasons[0]
    assert "relax --max-latency-ms to at least 0.0368" in reasons[1]  # 0.2 / 4 x (192 / 224)^2 = 0.03673, rounded up


def test_needs_that_exclude_each_other_name_what_each_leaves_of_the_other():
    needs = Needs(max_latency_ms=0.06, min_top1=76.0)
    _, chosen, reasons = _answer(needs)
    assert chosen is None
    relaxed = [text for text in reasons if text.startswith("relax")]
    assert any("--max-latency-ms" in text and "resnet50" in text for text in relaxed)
    assert any("--min-top1 to at most 69.1" in text and "resnet18" in text for text in relaxed)  # 69.752 - 0.6


@settings(max_examples=25, deadline=None)
@given(
    latency=st.floats(0.005, 20),
    rate=st.floats(100, 1e6),
    top1=st.floats(60, 85),
)
def test_a_need_relaxed_as_advised_can_be_met(latency, rate, top1):
    needs = Needs(max_latency_ms=latency, min_throughput=rate, min_top1=top1)
    _, chosen, reasons = _answer(needs)
    fields = {"--max-latency-ms": "max_latency_ms", "--min-throughput": "min_throughput", "--min-top1": "min_top1"}
    for text in reasons if chosen is None else ():
        if text.startswith("relax "):
            _, name, _, _, _, value = text.replace(",", " ").split()[:6]
            again = replace(needs, **{fields[name]: float(value)})
            assert _answer(again)[1] is not None, (text, again)


@settings(max_examples=25, deadline=None)
@given(latency=st.floats(0.05, 20), top1=st.floats(60, 85), measured=st.lists(st.sampled_from(_NETS), max_size=3))
def test_the_choice_meets_its_needs_as_surely_as_anything_and_is_beaten_by_none_of_its_kind(latency, top1, measured):
    needs = Needs(max_latency_ms=latency, min_top1=top1)
    options, chosen, _ = _answer(needs, runs=[a_run(net, p50_ms=1.0) for net in measured])
    if chosen is None:
        assert all(option.standing is Standing.FAILS for option in options)
        return
    best = max(option.standing.rank for option in options)
    assert options[chosen].standing.rank == best > 0


def test_a_throughput_need_alone_is_met_at_the_lowest_latency():
    options, chosen, _ = _answer(Needs(min_throughput=300.0, min_top1=78.0))
    assert options[chosen].net == "resnet152" and options[chosen].batch == 1


def test_without_needs_the_most_accurate_is_recommended_and_it_is_said():
    options, chosen, reasons = _answer(Needs())
    assert options[chosen].net == "resnet152" and "nothing was asked for" in reasons[0] and len(reasons) >= 1


def test_an_unknown_accuracy_is_recommended_only_where_nothing_known_will_do():
    needs = Needs(max_latency_ms=5.0, min_top1=78.0)
    options, chosen, _ = _answer(needs, weights="torchvision-v1")
    assert options[chosen].accuracy.top1_percent is not None
    unknown = an_option(top1=None, basis=SpeedBasis.MEASURED)
    assert choose([unknown], Needs()) == 0


def test_every_option_on_the_front_is_marked():
    options, _, _ = _answer(Needs(max_latency_ms=1.0))
    assert {n for n, option in enumerate(options) if option.on_front} == set(pareto_set(options)) != set()
    assert [o.speed.latency_ms for o in options] == sorted(o.speed.latency_ms for o in options)
