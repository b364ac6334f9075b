"""The three commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_bf16_and_fp8_as_a_user_makes_them(folder):
    result = RUNNER.invoke(app, ["export", "--net", "resnet8", "--precision", "fp32,bf16", "--io", "bf16", "--json"])
    assert result.exit_code == 0, result.output
    assert [(item["precision"], item["io"]) for item in json.loads(result.stdout)] == [
        ("fp32", "fp32"),
        ("bf16", "bf16"),
    ]
    assert "bf16 ran as fp32 operations" in result.stderr
    RUNNER.invoke(app, ["calibrate", "out/resnet8.fp32.onnx", "--data", "noise", "--images", "3"])
    result = RUNNER.invoke(app, ["quantize", "out/resnet8.fp32.onnx", "--precision", "fp8", "--json"])
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert (written["file"], written["precision"], written["method"]) == ("out/resnet8.fp8.onnx", "fp8", "max")
    assert "conv1 stays in fp16: FP8: 3 input channels, fewer than 17" in result.stderr


def test_unsigned_relu_says_what_stays_signed(folder):
    RUNNER.invoke(app, ["export", "--net", "resnet8", "--out", "u.fp32.onnx"])
    RUNNER.invoke(app, ["calibrate", "u.fp32.onnx", "--data", "noise", "--images", "3", "--method", "max"])
    result = RUNNER.invoke(app, ["quantize", "u.fp32.onnx", "--unsigned-relu", "first", "--json"])
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert (written["unsigned"]["tensors"], written["unsigned"]["num_pads"]) == (["relu"], 1)
    said = " ".join(result.stderr.split())
    assert "1 ReLU outputs are unsigned, with 1 Pad nodes; 5 stay signed: a padded convolution reads it" in said
    result = RUNNER.invoke(app, ["quantize", "u.fp32.onnx", "--unsigned-relu", "yes"])
    assert result.exit_code == 2
    assert "'yes' is not one of 'off', 'free', 'first', 'all'" in " ".join(result.stderr.split())


def test_calibrate_in_shards_and_with_another_method():
    RUNNER.invoke(app, ["export", "--net", "resnet8", "--out", "s.fp32.onnx"])
    sample = ["calibrate", "s.fp32.onnx", "--data", "noise", "--images", "4"]
    kept = ["--method", "entropy", "--keep-statistics", "--cache", "s.cache", "--trt-version", "10.9.0"]
    plain = RUNNER.invoke(app, [*sample, *kept])
    assert plain.exit_code == 0, plain.output
    assert "4 images, 4 distinct, 0 of one colour" in plain.stderr and "s.cache" in plain.stderr
    table = Path("s.calib.json").read_bytes()
    for k in (1, 2):
        result = RUNNER.invoke(app, [*sample, "--shard", f"{k}/2", "--batch", "2", "--json"])
        assert result.exit_code == 0, result.output
        shard = json.loads(result.stdout)
        assert (shard["file"], shard["num_images"], shard["sample_size"]) == (f"s.{k}of2.stats", 2, 4)
    merged = ["calibrate", "s.fp32.onnx", "--merge", "s.2of2.stats", "s.1of2.stats", "--out", "m.calib.json"]
    result = RUNNER.invoke(app, merged)
    assert result.exit_code == 0, result.output
    assert Path("m.calib.json").read_bytes() == table
    assert "method entropy: auto, the default elsewhere, looks at the images again" in result.stderr
    by_effect = RUNNER.invoke(app, [*sample, "--out", "a.calib.json"])
    assert by_effect.exit_code == 0, by_effect.output
    result = RUNNER.invoke(app, [*merged[:-1], "am.calib.json", "--data", "noise"])
    assert result.exit_code == 0, result.output
    assert Path("am.calib.json").read_bytes() == Path("a.calib.json").read_bytes()
    result = RUNNER.invoke(app, [*sample, "--method", "percentile:99.9", "--out", "p.calib.json"])
    assert result.exit_code == 0 and "statistics of 4 images read from s.calib.stats" in result.stderr, result.output
    assert Path("s.cache").read_text().startswith("TRT-100900-EntropyCalibration2\nimages: ")


_NOISE = ["calibrate", "absent.onnx", "--data", "noise"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["calibrate", "absent.onnx"], 2, "no images were named"),
        (["calibrate", "absent.onnx", "a.stats"], 2, "a.stats was given without --merge"),
        (["calibrate", "absent.onnx", "--merge"], 2, "no statistics file was given"),
        (["calibrate", "absent.onnx", "--merge", "a.stats", "--batch", "2"], 2, "--batch has no effect with --merge"),
        (["calibrate", "absent.onnx", "--merge", "a.stats", "--split", "val"], 2, "--split has no effect with --merge"),
        (
            ["calibrate", "absent.onnx", "--merge", "a.stats", "--threads", "2"],
            2,
            "no effect with --merge and no --data",
        ),
        (["calibrate", "absent.onnx", "--merge", "a.stats", "--method", "auto"], 2, "auto looks at the images again"),
        ([*_NOISE, "--merge", "a.stats", "--method", "max"], 2, "method max needs no images, so data noise has no"),
        ([*_NOISE, "--shard", "1/2", "--method", "max"], 2, "--method has no effect with --shard"),
        ([*_NOISE, "--shard", "3/2"], 2, "shard 3/2"),
        ([*_NOISE, "--method", "percentile:200"], 2, "'200' is not a number"),
        ([*_NOISE, "--trt-version", "8.5.0"], 2, "--trt-version has no effect without --cache"),
        ([*_NOISE, "--cache", "c", "--trt-version", "8"], 2, "TensorRT version '8'"),
        (["export"], 2, "no network was named"),
        (["export", "--depth", "99"], 2, "unknown depth 99"),
        (["export", "--net", "resnet8", "--precision", "int8"], 2, "'int8'"),
        (["export", "--net", "resnet8", "--precision", "fp32,fp16", "--out", "a.onnx"], 2, "a.onnx"),
        (["export", "a.safetensors", "--net", "resnet8"], 2, "a.safetensors"),
        (["export", "a.safetensors"], 2, "no such file"),
        (["calibrate", "absent.onnx", "--data", "noise"], 2, "no such file"),
        (
            ["calibrate", "absent.onnx", "--data", "noise", "--method", "best"],
            2,
            "and auto, which looks at a whole network",
        ),
        (["quantize", "absent.onnx"], 2, "no such file"),
        (["quantize", "absent.onnx", "--float", "int8"], 2, "'int8', expected fp16, bf16 or fp32"),
        (["quantize", "absent.onnx", "--precision", "fp16"], 2, "'fp16', expected int8 or fp8"),
        (["export", "--net", "resnet8", "--io", "fp16"], 2, "--io fp16 is for fp16 and bf16 files"),
        (["export", "--net", "resnet8", "--precision", "fp16", "--io", "int8"], 2, "--io is 'int8'"),
    ],
)
def test_wrong_usage_is_one_message(words, code, message):
    result = RUNNER.invoke(app, words)
    assert result.exit_code == code
    assert message in result.stderr and "Traceback" not in result.stderr
