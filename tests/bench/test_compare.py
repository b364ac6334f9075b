"""Benchmarks made up from known noise: what is a regression, what is none, and what may not be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.bench.compare import CompareOptions, compare_benchmarks, compare_files
from resnet_deploy.bench.machine.environment import Environment, Gpu
from resnet_deploy.bench.machine.validity import Validity
from resnet_deploy.bench.measure.intervals import block_medians, noise_floor_of
from resnet_deploy.bench.measure.timing import Sampling, summarize
from resnet_deploy.bench.measure.warmup import WarmUp
from resnet_deploy.bench.rows import Benchmark, BenchRow
from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

_WARM = WarmUp(passes=3, seconds=0.1, steady=True, rule="three rounds")
_MACHINE = Environment(
    cpu="Processor", num_cpus=8, load_1min=0.1, governor="performance", memory_gib=32.0, system="Linux 6 x86_64",
    python="3.11", packages={"onnxruntime": "1.31"}, gpus=(Gpu(name="L4", driver="580"),),
)  # fmt: skip


_TIMING = summarize(np.full(20, 0.005), batch=1, warmup=_WARM, sampling=Sampling())


def _row(ms: float, seed: int, *, noise: float = 0.02, run_noise: float = 0.0, **fields) -> BenchRow:
    rng = np.random.default_rng(seed)
    run = np.exp(run_noise * rng.standard_normal())
    seconds = ms / 1e3 * run * np.exp(noise * rng.standard_normal(200))
    timing = replace(  # what a comparison reads; the rest of a row takes longer to make
        _TIMING,
        p50_ms=1e3 * float(np.median(seconds)),
        block_medians_ms=tuple(1e3 * block_medians(seconds)),
        noise_floor=noise_floor_of(seconds),
    )
    described = {
        "net": "resnet50", "precision": Precision.FP16, "backend": "tensorrt-rtx", "version": "1", "device": "L4",
        "file": "x.engine", "batch": 1, "timing": timing, "reason": "", "parameters": None, "multiply_adds": None,
        "file_mib": 1.0, "build_seconds": None, "gmacs_per_second": None, "weights": "trained",
    }  # fmt: skip
    return BenchRow(**{**described, **fields})


def _benchmark(*rows: BenchRow, name: str = "bench.json", **fields) -> Benchmark:
    described = {
        "file": name, "rows": rows, "environment": _MACHINE, "load_1min_after": 0.1, "sampling": Sampling(),
        "threads": (0,), "seconds": 1.0, "created": "",
    }  # fmt: skip
    return Benchmark(**{**described, **fields})


def _verdict(old_ms: float, new_ms: float, seed: int = 0, **noise: float) -> str:
    old, new = _benchmark(_row(old_ms, seed, **noise)), _benchmark(_row(new_ms, seed + 5000, **noise))
    return compare_benchmarks(old, new, max_slowdown=0.02).rows[0].verdict


def test_the_same_thing_measured_twice_is_no_difference_at_least_95_times_in_100() -> None:
    verdicts = [_verdict(5.0, 5.0, seed) for seed in range(100)]
    assert verdicts.count("no difference") >= 95 and "regression" not in verdicts


@pytest.mark.parametrize(
    ("new_ms", "verdict"), [(5.5, "regression"), (5.075, "slower"), (4.5, "faster"), (5.01, "no difference")]
)
def test_a_difference_is_named_by_its_size(new_ms: float, verdict: str) -> None:
    assert _verdict(5.0, new_ms, noise=0.01) == verdict


def test_the_ratio_has_an_interval_that_holds_the_true_one() -> None:
    rows = [
        compare_benchmarks(_benchmark(_row(5.0, seed)), _benchmark(_row(5.5, seed + 5000)), max_slowdown=0.02).rows[0]
        for seed in range(100)
    ]
    assert sum(row.low <= 1.1 <= row.high for row in rows) >= 95  # 99 % each
    assert rows[0].units == "medians of 20 and 20 blocks of passes" and rows[0].margin >= 0.02


def test_a_noisy_row_needs_a_larger_difference() -> None:
    assert _verdict(5.0, 5.2, noise=0.005) == "regression" and _verdict(5.0, 5.2, noise=0.2) == "no difference"


def test_what_differs_from_run_to_run_is_seen_in_repeats_alone() -> None:
    def runs(seed: int, number: int) -> Benchmark:
        return _benchmark(*(_row(5.0, seed + i, run_noise=0.03, repeat=i) for i in range(number)))

    single = [compare_benchmarks(runs(s, 1), runs(s + 700, 1), max_slowdown=0.02).rows[0] for s in range(60)]
    repeated = [compare_benchmarks(runs(s, 5), runs(s + 700, 5), max_slowdown=0.02).rows[0] for s in range(60)]
    assert sum(row.verdict == "regression" for row in single) > 5  # the flaw that repeats are for
    assert sum(row.verdict == "regression" for row in repeated) == 0
    assert repeated[0].units == "medians of 5 and 5 runs"


def test_many_rows_raise_no_more_alarms_than_one() -> None:
    def many(seed: int) -> Benchmark:
        return _benchmark(*(_row(5.0, seed + 100 * batch, batch=batch) for batch in range(1, 31)))

    alarms = [
        any(row.verdict != "no difference" for row in compare_benchmarks(many(s), many(s + 50), max_slowdown=0).rows)
        for s in range(20)
    ]
    assert sum(alarms) <= 2  # uncorrected, 30 rows at 1 % would alarm in a quarter of the runs


def test_rows_are_matched_by_what_was_run_and_the_rest_is_named() -> None:
    old = _benchmark(_row(5.0, 1), _row(9.0, 2, batch=8), _row(3.0, 3, precision=Precision.INT8))
    new = _benchmark(_row(5.0, 4), _row(9.0, 5, batch=8, mode="application"), _row(3.0, 6, precision=Precision.INT8))
    found = compare_benchmarks(old, new, max_slowdown=0.02)
    assert [(row.precision, row.batch) for row in found.rows] == [(Precision.FP16, 1), (Precision.INT8, 1)]
    assert found.only_old == ("resnet50 fp16, tensorrt-rtx on L4, batch 8, kernel",)
    assert found.only_new == ("resnet50 fp16, tensorrt-rtx on L4, batch 8, application",)
    with pytest.raises(ConfigError, match="no timed row in common"):
        compare_benchmarks(old, _benchmark(_row(1.0, 1, net="vgg16")), max_slowdown=0.02)


def test_rows_that_are_not_valid_are_not_judged_and_nothing_judged_is_no_pass() -> None:
    shaky = _row(50.0, 2, validity=Validity(valid=False, reasons=("steal",)))
    found = compare_benchmarks(_benchmark(_row(5.0, 1)), _benchmark(shaky), max_slowdown=0.02)
    assert found.rows[0].verdict == "not judged" and found.rows[0].reasons == ("new: steal",) and not found.passed
    beside = _row(5.0, 3, batch=2)
    found = compare_benchmarks(_benchmark(_row(5.0, 1), beside), _benchmark(shaky, beside), max_slowdown=0.02)
    assert found.passed and [row.verdict for row in found.rows] == ["not judged", "no difference"]
    loaded = _benchmark(_row(5.0, 1), validity=Validity(valid=False, reasons=("the load was 9",)))
    found = compare_benchmarks(loaded, _benchmark(_row(5.0, 1)), max_slowdown=0.02)
    assert found.rows[0].reasons == ("old: the load was 9",)


def test_single_runs_that_are_not_valid_are_left_out_where_three_remain() -> None:
    shaky = Validity(valid=False, reasons=("steal",))
    old = _benchmark(*(_row(5.0, i, repeat=i) for i in range(4)))
    rows = [_row(5.0, 20 + i, repeat=i) for i in range(3)]
    found = compare_benchmarks(old, _benchmark(*rows, _row(9.0, 30, repeat=3, validity=shaky)), max_slowdown=0.02).rows[
        0
    ]
    assert (found.verdict, found.units) == ("no difference", "medians of 4 and 3 runs")
    assert found.reasons == ("new: 1 of 4 runs are not valid and left out",)
    found = compare_benchmarks(old, _benchmark(*rows[:2], _row(5.0, 9, validity=shaky)), max_slowdown=0.02).rows[0]
    assert found.verdict == "not judged" and "new: steal" in found.reasons


def test_different_machines_are_refused_unless_that_is_meant() -> None:
    old, new = _benchmark(_row(5.0, 1)), _benchmark(_row(5.0, 2), environment=replace(_MACHINE, cpu="Another"))
    with pytest.raises(ConfigError, match="processor Processor against Another"):
        compare_benchmarks(old, new, max_slowdown=0.02)
    found = compare_benchmarks(old, new, max_slowdown=0.02, across_machines=True)
    assert found.differences == ("processor Processor against Another",)


def test_other_software_is_said_and_no_obstacle() -> None:
    newer = replace(_MACHINE, packages={"onnxruntime": "1.32", "torch": "2.13"}, gpus=(Gpu(name="L4", driver="590"),))
    found = compare_benchmarks(_benchmark(_row(5.0, 1)), _benchmark(_row(5.0, 2), environment=newer), max_slowdown=0.02)
    assert found.differences == (
        "driver 580 against 590",
        "onnxruntime 1.31 against 1.32",
        "torch none against 2.13",
    )


def test_too_few_samples_are_not_judged() -> None:
    short = replace(
        _row(5.0, 1), timing=summarize([0.005] * 3, batch=1, warmup=_WARM, sampling=Sampling(min_samples=1))
    )
    found = compare_benchmarks(_benchmark(short), _benchmark(short), max_slowdown=0.02).rows[0]
    assert found.verdict == "not judged" and "too few" in found.reasons[-1]


def _written(folder: Path, name: str, benchmark: Benchmark) -> Path:
    file = folder / name
    file.write_text(json.dumps(to_plain(benchmark), allow_nan=False))
    write_manifest(file, kind="benchmark", stage="bench")
    return file


def test_files_are_compared_and_the_comparison_is_written_with_its_manifest(tmp_path: Path) -> None:
    old, new = (_written(tmp_path, f"{ms}.json", _benchmark(_row(ms, 1))) for ms in (5.0, 6.0))
    result = compare_files(CompareOptions(old=old, new=new, out=tmp_path / "c.json"))
    assert not result.passed and result.rows[0].verdict == "regression"
    assert json.loads((tmp_path / "c.json").read_text())["rows"][0]["verdict"] == "regression"
    manifest = read_manifest(tmp_path / "c.json", kind="comparison")
    assert [record.role for record in manifest.inputs] == ["old", "new"]


def test_a_slowdown_that_can_not_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_slowdown is -1"):
        CompareOptions(old=Path("a"), new=Path("b"), max_slowdown=-1)
