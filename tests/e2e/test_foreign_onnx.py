"""ONNX files of another exporter, or without their manifest, through the stages behind `import`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from tests.reference.foreign_networks import foreign_bytes

RUNNER = CliRunner()
PIXELS = ["--size", "32", "--resize", "32", "--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25"]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run(*words: str, code: int = 0):
    done = RUNNER.invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize("form", [{"dynamic": True, "opset": 17}, {"batch": 4}], ids=["any batch", "batch of 4"])
def test_an_imported_network_is_calibrated_quantized_timed_and_validated(form: dict) -> None:
    Path("their.onnx").write_bytes(foreign_bytes(**form))
    _run("import", "their.onnx", *PIXELS, "--out", "net.fp32.onnx")
    _run("calibrate", "net.fp32.onnx", "--data", "digits", "--images", "16", "--threads", "1")
    _run("quantize", "net.fp32.onnx")
    timed = json.loads(
        _run("bench", "net.fp32.onnx", "net.int8.onnx", "--batches", "1,3", "--seconds", "0.01", "--json").stdout
    )
    assert [(row["precision"], row["batch"], row["weights"]) for row in timed["rows"]] == [
        (precision, batch, "trained elsewhere") for precision in ("fp32", "int8") for batch in (1, 3)
    ]
    assert all(row["timing"] and row["net"] == "net" for row in timed["rows"])
    words = ["validate", "net.int8.onnx", "-r", "net.fp32.onnx", "--data", "digits", "--split", "test", "--json"]
    loose = ["--images", "50", "--max-drop", "100", "--min-agreement", "0", "--min-cosine", "0", "--min-sqnr", "5"]
    verdict = json.loads(RUNNER.invoke(app, [*words, *loose]).stdout)
    measured = {check["name"]: check for check in verdict["checks"]}
    assert verdict["num_images"] == 50 and verdict["candidate"]["precision"] == "int8"
    assert measured["SQNR of logits (dB)"]["passed"], measured


def test_a_file_without_its_manifest_is_timed_and_validated_once_its_pixels_are_named() -> None:
    _run("export", "--net", "resnet8", "--out", "net.fp32.onnx")
    Path("net.fp32.onnx").rename("bare.onnx")
    row = json.loads(_run("bench", "bare.onnx", "--batches", "2", "--seconds", "0.01", "--json").stdout)["rows"][0]
    assert row["timing"] and (row["net"], row["weights"]) == ("bare", "unknown")
    words = ["validate", "bare.onnx", "-r", "bare.onnx", "--data", "digits", "--split", "test", "--images", "20"]
    message = " ".join(_run(*words, code=2).stderr.split())
    assert "bare.onnx has no manifest that says how its images are prepared" in message
    assert "--preprocess imagenet, cifar, digits" in message and "`resnet-deploy import`" in message
    verdict = json.loads(RUNNER.invoke(app, [*words, "--preprocess", "digits", "--json"]).stdout)
    assert verdict["parity"]["top1_agreement"] == 1.0
    for stage in (["calibrate", "bare.onnx", "--data", "digits"], ["quantize", "bare.onnx"], ["scan", "bare.onnx"]):
        assert "bare.onnx has no manifest" in _run(*stage, code=2).stderr
    _run("import", "bare.onnx", *PIXELS, "--out", "again.fp32.onnx")
    _run("calibrate", "again.fp32.onnx", "--data", "digits", "--images", "8", "--threads", "1")


def test_a_file_of_one_batch_alone_is_validated_and_says_so_in_a_benchmark() -> None:
    Path("four.onnx").write_bytes(foreign_bytes(batch=4))
    rows = json.loads(_run("bench", "four.onnx", "--batches", "1,4", "--seconds", "0.01", "--json").stdout)["rows"]
    assert rows[0]["reason"] == "not run: this file takes a batch of 4 alone, not 1" and rows[0]["timing"] is None
    assert rows[1]["timing"] is not None
    Path("any.onnx").write_bytes(foreign_bytes(dynamic=True))
    words = ["validate", "four.onnx", "-r", "any.onnx", "--data", "digits", "--split", "test", "--images", "30"]
    done = RUNNER.invoke(app, [*words, "--preprocess", "digits", "--json"])  # 30 is no multiple of 4
    verdict = json.loads(done.stdout)
    assert verdict["num_images"] == 30 and verdict["parity"]["top1_agreement"] == 1.0
