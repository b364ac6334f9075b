"""The three commands as a user types them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.fixture(autouse=True)
def _inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_export_calibrate_quantize(folder):
    result = RUNNER.invoke(app, ["export", "--net", "resnet8", "--precision", "fp16,fp32", "--json"])
    assert result.exit_code == 0, result.output
    assert "random weights, good for measuring latency only" in result.stderr
    assert [item["precision"] for item in json.loads(result.stdout)] == ["fp32", "fp16"]
    result = RUNNER.invoke(app, ["calibrate", "out/resnet8.fp32.onnx", "--data", "noise", "--images", "3", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["file"] == "out/resnet8.calib.json"
    result = RUNNER.invoke(app, ["quantize", "out/resnet8.fp32.onnx", "--exclude", "conv1"])
    assert result.exit_code == 0, result.output
    assert "conv1 stays in fp16: excluded by name" in result.stderr
    assert (folder / "out/resnet8.int8.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["export"], 2, "no network was named"),
        (["export", "--depth", "99"], 2, "unknown depth 99"),
        (["export", "--net", "resnet8", "--precision", "int8"], 2, "'int8'"),
        (["export", "--net", "resnet8", "--precision", "fp32,fp16", "--out", "a.onnx"], 2, "a.onnx"),
        (["export", "a.safetensors", "--net", "resnet8"], 2, "a.safetensors"),
        (["export", "a.safetensors"], 2, "no such file"),
        (["calibrate", "absent.onnx", "--data", "noise"], 2, "no such file"),
        (["calibrate", "absent.onnx", "--data", "noise", "--method", "best"], 2, "'best'"),
        (["quantize", "absent.onnx"], 2, "no such file"),
        (["quantize", "absent.onnx", "--float", "bf16"], 2, "'bf16'"),
    ],
)
def test_wrong_usage_is_one_message(words, code, message):
    result = RUNNER.invoke(app, words)
    assert result.exit_code == code
    assert message in result.stderr and "Traceback" not in result.stderr
