from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.bench.run import BenchTarget
from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import ExitCode
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.availability import BackendStatus
from resnet_deploy.pipeline.artifacts import NetFiles
from resnet_deploy.pipeline.targets import bench_targets


def _run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.slow
def test_a_net_is_made_and_timed_in_every_precision(tmp_path: Path) -> None:
    words = ("bench", "--net", "resnet8", "--folder", tmp_path / "f", "-o", tmp_path / "b.json", "--seconds", 0.02)
    result = _run(*words, "--batches", "1,2", "--json")
    assert result.exit_code == ExitCode.DONE, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {(r["precision"], r["batch"]) for r in rows} >= {("fp32", 1), ("fp32", 2), ("int8", 1), ("int8", 2)}
    assert {r["weights"] for r in rows} == {"random, seed 0"}
    assert all(r["timing"] or r["reason"].startswith("not run: ") for r in rows)
    assert "Latency of one pass" in _run(*words).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("missing.onnx",), "missing.onnx"),
        (("--batches", "1,x", "a.onnx"), "1,x"),
        (("--batches", "0", "a.onnx"), "[0]"),
        (("--threads", "two", "a.onnx"), "--threads two"),
        (("--mode", "fast", "a.onnx"), "fast"),
        (("--interleave", "a.onnx"), "two or more files"),
        (("--depth", "19"), "unknown depth 19"),
        (("a.onnx", "--depth", "18"), "both named"),
        (("--checkpoint", "a.safetensors"), "a.safetensors"),
        (("notes.txt",), "notes.txt"),
    ],
)
def test_wrong_use_ends_with_2_and_one_message(tmp_path: Path, monkeypatch, words: tuple, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("hello")
    result = _run("bench", *words)
    assert result.exit_code == ExitCode.BAD_INPUT and says in result.stderr, result.output
    assert "Traceback" not in result.output and "fault in resnet-deploy" not in result.output
    assert not Path("out/bench.json").exists()


def test_what_a_processor_would_emulate_is_timed_on_a_gpu_only() -> None:
    onnx = {p: Path(f"n.{p}.onnx") for p in Precision}
    files = NetFiles(
        checkpoint=Path("n.safetensors"), onnx=onnx, engines={Precision.INT8: Path("n.engine")}, products={}, stages=()
    )

    def targets(device: str | None) -> list[BenchTarget]:
        names = ("torch", "onnxruntime", "openvino")
        statuses = [
            BackendStatus(name=n, available=n != "openvino", version="1", device=device, reason="") for n in names
        ]
        return bench_targets(files, statuses)

    on_cpu, on_gpu = targets("cpu"), targets("H200")
    emulated = {BenchTarget(file=onnx[p], backend="onnxruntime") for p in Precision if p is not Precision.FP32}
    assert set(on_gpu) - set(on_cpu) == emulated and set(on_cpu) <= set(on_gpu)
    assert on_cpu[0] == BenchTarget(file=files.checkpoint, backend="torch")
    assert on_cpu[-1] == BenchTarget(file=Path("n.engine")) and all(t.backend != "openvino" for t in on_cpu)


def test_help_lists_the_options_of_bench_and_the_sub_command() -> None:
    shown = _run("bench", "--help").output
    assert "--interleave" in shown and "compare  " in shown and "files" not in shown.split("Commands:")[1]
    assert "--max-slowdown" in _run("bench", "compare", "--help").output


def _benchmarks(folder: Path, *milliseconds: float) -> list[Path]:
    from tests.bench.test_compare import _benchmark, _row, _written

    return [
        _written(folder, f"{place}.json", _benchmark(_row(ms, place, noise=0.005)))
        for place, ms in enumerate(milliseconds)
    ]


def test_compare_ends_with_1_on_a_regression_and_with_0_without_one(tmp_path: Path) -> None:
    old, slower, same = _benchmarks(tmp_path, 5.0, 6.0, 5.0)
    failed, passed = _run("bench", "compare", old, slower), _run("bench", "compare", old, same)
    assert failed.exit_code == ExitCode.CHECK_FAILED and "1 of 1 rows are regressions" in failed.stdout
    assert passed.exit_code == ExitCode.DONE and "no difference" in passed.stdout
    assert _run("bench", "compare", old, slower, "--max-slowdown", "0.5").exit_code == ExitCode.DONE
    out = tmp_path / "c.json"
    result = _run("bench", "compare", old, slower, "--json", "-o", out)
    assert json.loads(result.stdout)["rows"][0]["verdict"] == "regression" and out.is_file()


def test_compare_with_what_is_no_benchmark_ends_with_2(tmp_path: Path) -> None:
    (old,) = _benchmarks(tmp_path, 5.0)
    missing = _run("bench", "compare", old, tmp_path / "gone.json")
    assert missing.exit_code == ExitCode.BAD_INPUT and "gone.json" in missing.stderr


def test_rows_that_are_not_valid_end_with_1_where_that_is_asked_for(tmp_path: Path) -> None:
    from dataclasses import replace

    from resnet_deploy.bench.machine.validity import Validity
    from tests.bench.test_compare import _benchmark, _row, _written

    shaky = replace(_row(5.0, 1, batch=8), validity=Validity(valid=False, reasons=("steal",)))
    file = _written(tmp_path, "b.json", _benchmark(_row(5.0, 1), shaky))
    assert _run("bench", "compare", file, file).exit_code == ExitCode.DONE
    strict = _run("bench", "compare", file, file, "--require-valid")
    assert strict.exit_code == ExitCode.CHECK_FAILED and "Not judged: new: steal." in strict.stdout


def test_bench_shows_rows_requests_and_turns_and_refuses_shaky_ones(tmp_path: Path, monkeypatch) -> None:
    from resnet_deploy.bench.machine import processors
    from tests.bench.test_bench_run import write_pooled

    monkeypatch.chdir(tmp_path)
    file = write_pooled(tmp_path)
    words = ("bench", file, "--seconds", "0.02", "--threads", "1")
    shown = _run(*words, "--mode", "kernel,application", "--workers", "1,2").stdout
    assert "Latency of one pass" in shown and "Parts of a request" in shown and "workers" in shown
    turns = _run(*words, file, "--interleave").stdout
    assert "Batch 1, threads 1: " in turns and "net.int8.onnx" in turns
    ticks = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(processors, "_ticks", lambda numbers: (next(ticks), 0))
    assert _run(*words).exit_code == ExitCode.DONE
    strict = _run(*words, "--require-valid")
    assert strict.exit_code == ExitCode.CHECK_FAILED and "other processes took" in strict.stdout


def test_reasons_of_one_kind_are_said_once_with_their_number() -> None:
    from resnet_deploy.cli.bench_show import milliseconds, reasons_by_kind

    assert reasons_by_kind(["load 1.5", "load 2", "steal", "steal"]) == [("load 1.5, and alike", 2), ("steal", 2)]
    assert [milliseconds(value) for value in (0.04567, 1.2345, 93.56, 1234.5)] == ["0.0457", "1.23", "93.6", "1234"]
