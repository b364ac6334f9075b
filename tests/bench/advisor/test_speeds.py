from __future__ import annotations

import pytest

from resnet_deploy.bench.advisor.advice import SpeedBasis
from resnet_deploy.bench.advisor.speeds import Key, speeds_of
from resnet_deploy.core.specs import Precision
from tests.bench.advisor.conftest import a_run, plain_bound

_INT8 = Key("resnet50", 224, Precision.INT8, 1)  # bound 0.125 ms
_FP16 = Key("resnet50", 224, Precision.FP16, 1)  # bound 0.25 ms


def _one(keys, runs, bound_of=plain_bound):
    ((_, backend, _, speed),) = speeds_of(keys, runs, bound_of)
    return backend, speed


def test_without_a_run_the_bound_stands_with_what_limits_it():
    backend, speed = _one([_INT8], [])
    assert (backend, speed.basis, speed.latency_ms, speed.bound_ms) == ("", SpeedBasis.BOUND, 0.125, 0.125)
    assert speed.label == "roofline bound" and "memory" in speed.source and speed.likely_ms == pytest.approx(0.375)


def test_a_measured_run_overturns_the_bound():
    backend, speed = _one([_INT8], [a_run(p50_ms=0.9, images_per_second=1100.0)])
    assert (backend, speed.basis, speed.latency_ms, speed.images_per_second) == (
        "tensorrt", SpeedBasis.MEASURED, 0.9, 1100.0,
    )  # fmt: skip
    assert speed.bound_ms == 0.125 and speed.likely_ms is None and "out/bench.json" in speed.source


def test_a_run_of_the_same_precision_scales_the_bounds_of_the_others():
    other = Key("resnet101", 224, Precision.INT8, 1)  # bound 0.25 ms
    _, speed = _one([other], [a_run(p50_ms=0.5)])  # 4 times its bound
    assert (speed.basis, speed.num_runs) == (SpeedBasis.SCALED, 1)
    assert speed.latency_ms == pytest.approx(1.0) and speed.images_per_second == pytest.approx(1000.0)
    assert (speed.bound_ms, speed.bound_images_per_second) == (0.25, 4000.0)
    assert speed.label == "scaled from 1 measured run" and "4.00 times" in speed.source


def test_a_run_of_another_precision_scales_nothing():
    assert _one([_FP16], [a_run(p50_ms=0.5)])[1].basis is SpeedBasis.BOUND


def test_runs_of_the_same_batch_scale_before_others_and_the_median_counts():
    runs = [
        a_run("resnet50", batch=8, p50_ms=2.0),  # 2 times the bound of 1.0
        a_run("resnet18", batch=1, p50_ms=0.25),  # 5 times 0.05
        a_run("resnet34", batch=1, p50_ms=0.7),  # 7 times 0.1
        a_run("resnet152", batch=1, p50_ms=3.75),  # 10 times 0.375
    ]
    assert _one([_INT8], runs)[1].latency_ms == pytest.approx(7 * 0.125)
    batch_32 = Key("resnet50", 224, Precision.INT8, 32)
    assert _one([batch_32], runs)[1].latency_ms == pytest.approx(6 * 0.125 * 32)  # median of 2, 5, 7, 10


def test_the_fastest_backend_of_a_key_scales_and_each_is_an_option_of_its_own():
    runs = [a_run(p50_ms=0.25), a_run(backend="torch", p50_ms=2.5)]
    found = speeds_of([_INT8, Key("resnet101", 224, Precision.INT8, 1)], runs, plain_bound)
    assert [(backend, speed.basis) for _, backend, _, speed in found[:2]] == [
        ("tensorrt", SpeedBasis.MEASURED), ("torch", SpeedBasis.MEASURED),
    ]  # fmt: skip
    assert found[2][3].latency_ms == pytest.approx(2 * 0.25)


def test_the_latest_file_counts_and_of_its_repeats_the_middle_one():
    old = a_run(p50_ms=9.0, created="2026-01-01", source="old.json")
    repeats = [a_run(p50_ms=ms, created="2026-02-02", source="new.json") for ms in (0.5, 0.9, 0.7)]
    for order in ([old, *repeats], [*repeats, old]):
        assert _one([_INT8], order)[1].latency_ms == 0.7


def test_a_run_that_is_not_valid_says_so_and_is_no_certainty():
    _, speed = _one([_INT8], [a_run(why_not_valid="the clocks fell")])
    assert speed.basis is SpeedBasis.NOT_VALID and "the clocks fell" in speed.source
    assert speed.basis.certainty < SpeedBasis.MEASURED.certainty


def test_what_has_neither_run_nor_bound_is_left_out():
    assert speeds_of([Key("resnet50", 224, Precision.FP8, 1)], [], plain_bound) == []
    assert speeds_of([_INT8], [], None) == []
    assert _one([_INT8, _FP16], [a_run()], None)[1].bound_ms is None
