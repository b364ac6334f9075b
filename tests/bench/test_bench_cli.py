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
