"""ONNX files of another exporter, or without their manifest, through the stages behind `import`."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
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
        message = " ".join(_run(*stage, code=2).stderr.split())
        assert "bare.onnx has no manifest" in message and "`resnet-deploy import`" in message
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


@pytest.mark.parametrize(
    "form",
    [{"opset": 11}, {"dynamic": True, "opset": 17}, {"batch": 4}, {"dynamic": True, "softmax": True}],
    ids=["static, opset 11", "any batch", "batch of 4", "softmax"],
)
def test_every_stage_takes_a_file_from_elsewhere_once_its_pixels_are_named(form: dict) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    Path("their.onnx").write_bytes(foreign_bytes(**form))
    Path("names.txt").write_text("\n".join(str(digit) for digit in range(10)))
    said = ["--preprocess", "digits", "--labels", "names.txt"]
    calibrate = ["calibrate", "their.onnx", "--data", "digits", "--images", "16", "--threads", "1"]
    # 32 x 32 px where digits has them so; a network of another size would be refused
    done = _run(*calibrate, *said)
    assert "their.onnx was made elsewhere: imported as their.fp32.onnx" in " ".join(done.stderr.split())
    _run("quantize", "their.onnx")
    quantised = json.loads(Path("their.int8.onnx.json").read_text())
    assert quantised["labels"] == [str(digit) for digit in range(10)] and quantised["precision"] == "int8"
    _run("build", "their.onnx", "their.int8.onnx", "--target", "sm89")
    assert json.loads(Path("their.engine.json").read_text())["preprocess"] is None
    (sane,) = json.loads(_run("sanity", "their.onnx", "--threads", "1", "--json").stdout)
    assert sane["state"] == "passed" and sane["notes"]
    images = ["--data", "digits", "--split", "test", "--images", "50"]
    loose = ["--max-drop", "100", "--min-agreement", "0", "--min-cosine", "0", "--min-sqnr", "5"]
    words = ["validate", "their.int8.onnx", "-r", "their.fp32.onnx", *images, *loose, "--json"]
    verdict = json.loads(RUNNER.invoke(app, words).stdout)
    assert {check["name"]: check["passed"] for check in verdict["checks"]}["SQNR of logits (dB)"], verdict["checks"]


def test_labels_of_a_file_without_a_manifest_decide_which_output_is_which_class() -> None:
    """The network's classes turned round: by name it is as right as before, by position it is not."""
    _run("export", "--net", "resnet8", "--out", "net.fp32.onnx")
    Path("net.fp32.onnx").rename("bare.onnx")
    words = ["evaluate", "bare.onnx", "--data", "digits", "--split", "test", "--preprocess", "digits", "--json"]
    straight = [str(digit) for digit in range(10)]
    Path("names.txt").write_text("\n".join(straight))
    by_position = json.loads(_run(*words).stdout)
    by_name = json.loads(_run(*words, "--labels", "names.txt").stdout)
    assert by_name["top1_percent"] == by_position["top1_percent"]
    Path("names.txt").write_text("\n".join(straight[::-1]))
    turned = json.loads(_run(*words, "--labels", "names.txt").stdout)
    hits = [{c["name"]: c["num_hits"] for c in found["per_class"]} for found in (by_name, turned)]
    assert hits[0] != hits[1]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"two_outputs": True}, "has 2 outputs: y, z remedy: keep the one with the logits: resnet-deploy import"),
        ({"dynamic": True, "pixels": "imagenet"}, "its preprocessing gives images of 224x224 px"),
    ],
)
def test_what_can_not_be_validated_is_refused_before_any_image(form: dict, says: str) -> None:
    pixels = form.pop("pixels", "digits")
    Path("their.onnx").write_bytes(foreign_bytes(**form))
    words = ["validate", "their.onnx", "-r", "their.onnx", "--data", "digits", "--split", "test", "--images", "20"]
    assert says in " ".join(_run(*words, "--preprocess", pixels, code=2).stderr.split())


def test_the_size_of_images_is_asked_for_where_a_benchmark_needs_it() -> None:
    model = onnx.load_from_string(foreign_bytes(dynamic=True))
    for axis, name in ((2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, "any.onnx")
    words = ["bench", "any.onnx", "--seconds", "0.01", "--json"]
    assert "say it with --size 224, or --size 480x640" in " ".join(_run(*words, code=2).stderr.split())
    assert json.loads(_run(*words, "--size", "40x56").stdout)["rows"][0]["timing"]
    assert "--size 40x: not a size" in _run(*words, "--size", "40x", code=2).stderr
    Path("fixed.onnx").write_bytes(foreign_bytes())
    refused = " ".join(_run("bench", "fixed.onnx", "--size", "64", code=2).stderr.split())
    assert "--size says 64x64 remedy: leave --size away" in refused
    assert "--size was given without a file" in _run("bench", "--net", "resnet8", "--size", "64", code=2).stderr
