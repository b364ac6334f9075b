"""`make gpu-check` as far as it goes without a GPU: arguments, steps that fail, what is kept, the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.engine.cuda_driver import query_cuda_driver

QUICK = ["--rehearse", "--net", "resnet8", "--latency-nets", "resnet8", "--batches", "1", "--seconds", "0.01"]


@pytest.fixture
def no_gpu() -> None:
    if query_cuda_driver().gpus:
        pytest.skip("there is a GPU here")


def run(*arguments: object) -> int:
    from gpu_check import main

    return main([str(argument) for argument in arguments])


def test_without_a_gpu_it_says_so_and_writes_nothing(no_gpu, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--folder", tmp_path / "f", "--report", tmp_path / "r") == 3
    assert "not run: no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("steps", ["machine,nonsense", ","])
def test_wrong_steps_end_it_at_once(steps: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--steps", steps)
    assert ended.value.code == 2 and ("nonsense" in (said := capsys.readouterr().err) or "names none" in said)


def test_a_rehearsal_leaves_a_report_of_every_step_asked_for(no_gpu, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    assert run(*QUICK, "--steps", "engines,cuda_graphs", "--folder", tmp_path) == 0
    (report,) = tmp_path.glob("gpu-*-rehearsal.md")
    text, data = report.read_text(), json.loads(report.with_suffix(".json").read_text())
    found = {step["name"]: step for step in data["steps"]}
    assert set(found) == {"engines", "cuda_graphs"}
    assert found["engines"]["state"] == "not run"  # built, none was run
    built = [row for row in found["engines"]["rows"] if row["product"] == "tensorrt-rtx"]
    assert [row["engine"] for row in built] == ["resnet8 fp32", "resnet8 fp16", "resnet8 int8"]
    assert all(row["SQNR dB"] > 25 and row["MiB"] > 0.5 for row in built)
    assert "no CUDA device" in text and "`threads` was not asked for" in text


@pytest.mark.slow
def test_latency_is_a_step_for_each_network(no_gpu, tmp_path: Path) -> None:
    assert run(*QUICK, "--steps", "latency", "--folder", tmp_path) == 0
    (report,) = tmp_path.glob("gpu-*.json")
    (step,) = json.loads(report.read_text())["steps"]
    assert step["name"] == "latency:resnet8"
    timed = {row["backend"]: row for row in step["rows"] if "p50 ms" in row}
    assert set(timed) >= {"torch", "torch-compile", "onnxruntime"}
    assert timed["torch"]["x torch eager"] == 1 and all(row["p50 ms"] > 0 for row in timed.values())


def test_a_step_that_hangs_fails_and_the_others_are_still_run(no_gpu, tmp_path: Path) -> None:
    arguments = [*QUICK, "--steps", "machine,preflight", "--folder", tmp_path]
    assert run(*arguments, "--limit", "0.05") == 1
    (report,) = tmp_path.glob("gpu-*.json")
    states = {step["name"]: (step["state"], step["summary"]) for step in json.loads(report.read_text())["steps"]}
    assert set(states) == {"machine", "preflight"}
    assert all(state == "failed" and "stopped after" in summary for state, summary in states.values())


def outcome_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *rows: dict, error: Exception | None = None):
    import gpu_steps
    import gpu_subjects

    def step(setting: gpu_subjects.Setting) -> Iterator[dict]:
        yield from rows
        if error is not None:
            raise error

    monkeypatch.setitem(gpu_steps.STEPS, "machine", step)
    setting = gpu_subjects.Setting(folder=tmp_path, rehearse=True, net="resnet8", batches=(1,), seconds=0.1)
    return gpu_steps.run_step("machine", setting)


def test_one_bad_row_fails_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = outcome_of(monkeypatch, tmp_path, {"result": "passed"}, {"result": "FAILED: below 40 dB"})
    assert (bad.state, bad.summary) == ("failed", "1 of 2 passed")
    broken = outcome_of(monkeypatch, tmp_path, {"result": "passed"}, error=EngineRunError("no memory"))
    assert (broken.state, broken.summary, len(broken.rows)) == ("failed", "no memory", 1)
    assert outcome_of(monkeypatch, tmp_path, {"result": "passed"}, {"result": "not run: none"}).state == "passed"
    assert outcome_of(monkeypatch, tmp_path, {"result": "not run: none"}).state == "not run"


def test_what_passed_is_kept_for_the_same_machine_and_versions_only(tmp_path: Path) -> None:
    from gpu_check import load, save
    from gpu_steps import Outcome

    good, bad = Outcome(name="latency:resnet34-a", rows=[{"result": "passed"}]), Outcome(name="tf32", state="failed")
    for outcome in (good, bad):
        save(outcome, tmp_path, "this machine")
    assert load("latency:resnet34-a", tmp_path, "this machine") == good
    assert load("latency:resnet34-a", tmp_path, "another") is None
    assert load("tf32", tmp_path, "this machine") is None  # a failed step is tried again
    (tmp_path / "machine.json").write_text("{")
    assert load("machine", tmp_path, "this machine") is None


def test_a_cell_can_not_break_the_table(tmp_path: Path) -> None:
    from gpu_report import write_report
    from gpu_steps import Outcome

    from resnet_deploy.bench.machine.environment import capture_environment

    outcome = Outcome(name="machine", rows=[{"what": "a | b\nc", "x": 1.23456789}, {"y": 2}])
    file = write_report([outcome], tmp_path / "report.md", capture_environment(), query_cuda_driver())
    rows = [line for line in file.read_text().splitlines() if line.startswith("| a / b c")]
    assert rows == ["| a / b c | 1.235 |  |"]


def test_a_row_over_its_roofline_fails_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import gpu_subjects
    import gpu_timings

    from resnet_deploy.bench.roofline import estimate
    from resnet_deploy.bench.roofline.measured import MeasuredShare

    def share(latency_share: float | None, throughput_share: float | None, reason: str = "") -> MeasuredShare:
        values = dict.fromkeys(MeasuredShare.__dataclass_fields__, None) | {"net": "resnet18", "batch": 1}
        values |= {"latency_share": latency_share, "throughput_share": throughput_share, "reason": reason}
        return MeasuredShare(**values)

    setting = gpu_subjects.Setting(folder=tmp_path, rehearse=True, net="resnet8", batches=(1,), seconds=0.1)
    assert [row["result"][:7] for row in gpu_timings.roofline(setting)] == ["not run"]
    (tmp_path / "latency.resnet18.bench.json").touch()
    found = SimpleNamespace(measured=(share(0.4, 0.5), share(0.4, 1.02), share(None, None, "ran on a processor")))
    monkeypatch.setattr(estimate, "estimate", lambda options: found)
    results = [row["result"] for row in gpu_timings.roofline(setting)]
    assert results == ["passed", "FAILED", "not run: ran on a processor"]
