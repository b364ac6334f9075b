"""`build`, `inspect` and `doctor` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from resnet_deploy.cli.main import app
from resnet_deploy.engine import machine


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_build_makes_an_engine_beside_each_file(save_onnx, rtx) -> None:
    files = [save_onnx("fp32"), save_onnx("fp16")]
    result = call("build", *files, "--target", "sm86,sm89", "--profile", "1:2:4")
    assert result.exit_code == 0, result.output
    assert all(file.with_suffix(".engine").is_file() for file in files)
    assert "sm86 sm89" in result.stdout and rtx.__version__ in result.stdout
    once_for_each = ["--target", "sm86", "--target", "sm89"]
    again = json.loads(call("build", *files, *once_for_each, "--profile", "1:2:4", "--json").stdout)
    assert [entry["state"] for entry in again["engines"]] == ["up to date", "up to date"]
    assert [entry["precision"] for entry in again["engines"]] == ["fp32", "fp16"]


@pytest.mark.parametrize(
    ("extra", "code", "says"),
    [
        (["--target", "sm90"], 2, "can not build for sm90"),
        (["--target", "sm75"], 4, "FP32 GEMM"),
        (["--profile", "1:8"], 2, "write min:opt:max"),
        (["--profile", "4:2:1"], 2, "1 <= min <= opt <= max"),
        (["--product", "tvm"], 2, "unknown product 'tvm'"),
    ],
)
def test_build_refuses_with_the_documented_code(save_onnx, rtx, extra: list[str], code: int, says: str) -> None:
    result = call("build", save_onnx("fp32"), *extra)
    assert result.exit_code == code
    assert says in " ".join(result.stderr.split()) and "Traceback" not in result.output


def test_build_out_names_one_engine(save_onnx, tmp_path: Path) -> None:
    result = call("build", save_onnx("fp32"), save_onnx("fp16"), "--out", tmp_path / "net.engine")
    assert result.exit_code == 2 and "--out names one engine, 2 ONNX files" in " ".join(result.stderr.split())


def test_inspect_shows_files_and_fails_on_a_changed_one(save_onnx, rtx) -> None:
    source = save_onnx("fp32", manifest=True)
    engine = source.with_suffix(".engine")
    assert call("build", source).exit_code == 0
    shown = call("inspect", engine, source)
    assert shown.exit_code == 0 and "0x7e" in shown.stdout and "Made from" in shown.stdout
    found = json.loads(call("inspect", engine, "--json").stdout)
    assert found[0]["facts"]["runs on"] == "sm80, sm86, sm89, sm120, sm121"
    data = bytearray(engine.read_bytes())
    data[-1] ^= 1
    engine.write_bytes(data)
    changed = call("inspect", engine)
    assert changed.exit_code == 1 and "does not match" in changed.stderr
    engine.write_bytes(data[:500])
    cut = call("inspect", engine)
    assert cut.exit_code == 2 and "cut off: 500 bytes" in " ".join(cut.stderr.split())


def test_doctor_lists_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("doctor")
    assert result.exit_code == 0 and "build engines with tensorrt-rtx" in result.stdout
    assert {"python", "gpus", "backends", "capabilities"} <= set(json.loads(call("doctor", "--json").stdout))
    monkeypatch.setitem(machine._REQUIRED, "no_such_module_here", "no-such-package")
    broken = call("doctor")
    assert broken.exit_code == 3 and "no-such-package" in broken.stderr
