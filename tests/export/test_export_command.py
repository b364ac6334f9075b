"""`export` as a user types it, and what later stages make of its files."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.export import forms
from tests.reference.small_networks import resnet8_onnx


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forms, "onnx_from_torch", lambda net, preprocess: resnet8_onnx())


def _run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_options_reach_the_file_and_its_name(tmp_path):
    options = ["--net", "resnet8", "--output", "c1,c2", "--dynamic-size", "--batch", "4", "--precision", "fp16"]
    result = _run("export", *options, "--json")
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)
    assert made["file"] == "out/resnet8.c1-c2.dynamic-size.batch4.fp16.onnx" and not made["note"]
    manifest = read_manifest(tmp_path / made["file"])
    assert manifest.options["output"] == {"kind": "maps", "top": None, "maps": ["c1", "c2"]}
    assert (manifest.options["batch"], manifest.options["any_size"]) == (4, True)
    assert (tmp_path / "out/resnet8.c1-c2.dynamic-size.batch4.fp32.onnx").is_file()
    again = json.loads(_run("export", *options, "--json").stdout)
    assert again[0]["skipped"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "boxes"], "expected logits, softmax, topk, features, or maps"),
        (["--output", "c5"], "it has c0, c1, c2"),
        (["--output", "topk", "--top", "11"], "--top is 11, resnet8 knows 10 classes"),
        (["--top", "3"], "--top 3 is for --output topk, the output is logits"),
        (["--dynamic-size", "--fully-convolutional"], "--dynamic-size does not go with the form fully-convolutional"),
        (["--output", "features", "--protocol", "ten-crop"], "--output features does not go with the form ten-crop"),
    ],
)
def test_wrong_usage_is_told_in_a_line_with_a_way_out(options, said):
    result = _run("export", "--net", "resnet8", *options)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split()), result.output


@pytest.mark.parametrize("output", ["softmax", "topk", "features", "c0,c1,c2"])
def test_every_output_is_calibrated_quantised_and_built(tmp_path, output):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    made = _run(
        "export", "--net", "resnet8", "--output", output, "--dynamic-size", "--precision", "fp32,fp16", "--json"
    )
    fp32, fp16 = (item["file"] for item in json.loads(made.stdout))
    assert _run("calibrate", fp32, "--data", "noise", "--images", "3", "--threads", "1").exit_code == 0
    quantized = _run("quantize", fp32, "--json")
    assert quantized.exit_code == 0, quantized.output
    outputs = [spec["name"] for spec in read_manifest(_built(fp16)).details["outputs"]]
    engine = read_manifest(_built(json.loads(quantized.stdout)["file"]))
    assert [spec["name"] for spec in engine.details["outputs"]] == outputs
    # What the outputs mean has come all the way.
    assert engine.net.output is read_manifest(tmp_path / fp32).net.output


def _built(file: str) -> str:
    small = ["--target", "sm86", "--profile", "1:2:2", "--size", "24:32:40"]
    result = _run("build", file, *small)
    assert result.exit_code == 0, result.output
    return file.replace(".onnx", ".engine")
