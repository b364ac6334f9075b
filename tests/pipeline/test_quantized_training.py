"""`train --qat` from its options to its table, in the library and as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.pipeline.quantized_training import float_twin_of, train_quantized
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.train import loop
from resnet_deploy.train.options import QuantizedStart, TrainOptions
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from tests.train.jobs import write_digit_folder

RECIPE = override_recipe(load_recipe("qat"), {"steps": 3, "batch_size": 16})


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """A folder with an untrained resnet8 as net.int8.onnx and net.fp32.onnx, and digits/ with 32 + 20 images."""
    folder = tmp_path_factory.mktemp("net")
    data = write_digit_folder(folder / "digits", train=32, val=20)
    fp32 = export_onnx(ExportOptions(net="resnet8", out=folder / "net.fp32.onnx")).file
    calibrate(CalibrateOptions(onnx=fp32, data=str(data), num_images=8, num_threads=1))
    quantize_onnx(QuantizeOptions(onnx=fp32, float_precision=Precision.FP32))
    return folder


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    monkeypatch.setattr(loop, "draw_curves", lambda *_, **__: None)


def answers(file: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = next(
        input_batches(open_images(str(folder / "digits"), split="val"), read_manifest(file).preprocess, batch_size=64)
    )
    return open_session(read_onnx(file)).run(None, {"images": batch.images})[0].argmax(1), batch.labels


def test_scores_are_those_of_the_files_on_the_disk(net, tmp_path):
    """Oracle: ONNX Runtime on each file, counted here."""
    options = TrainOptions(
        out=tmp_path / "a.int8.onnx",
        recipe=RECIPE,
        data=str(net / "digits"),
        quantized=QuantizedStart(int8=net / "net.int8.onnx"),
        num_threads=1,
        num_workers=1,
    )
    result = train_quantized(options, compare_fp32=True)
    assert [score.name for score in result.scores] == ["FP32", "FP32 trained", "INT8 before", "INT8 trained"]
    files = [net / "net.fp32.onnx", tmp_path / "a.fp32.onnx", net / "net.int8.onnx", tmp_path / "a.int8.onnx"]
    reference, labels = answers(files[0], net)
    for score, file in zip(result.scores, files, strict=True):
        given, _ = answers(file, net)
        assert Path(score.file) == file
        assert score.top1_percent == pytest.approx(100 * (given == labels).mean())
        if file is not files[0]:
            assert score.agreement == pytest.approx((given == reference).mean())
            assert score.top1_drop == pytest.approx(result.scores[0].top1_percent - score.top1_percent)
    assert result.num_images == 20
    assert result.float_training.steps == result.training.steps == 3
    assert read_manifest(files[1]).precision is Precision.FP32
    assert not (net / "net.int8.onnx.verdict.json").exists()  # the user's own verdicts are left alone


def test_images_of_other_classes_are_learnt_from_but_not_scored(net, tmp_path):
    data = tmp_path / "two"
    for file in (net / "digits").glob("*/[01]/*.png"):
        target = data / file.relative_to(net / "digits")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    options = TrainOptions(
        out=tmp_path / "a.int8.onnx",
        recipe=RECIPE,
        data=str(data),
        quantized=QuantizedStart(int8=net / "net.int8.onnx", distill=True),
        num_threads=1,
        num_workers=1,
    )
    result = train_quantized(options)
    assert result.scores == () and result.training.steps == 3
    assert "has 2 classes" in result.note


def test_the_twins_name_says_what_it_is():
    assert float_twin_of(Path("x/a.qat.int8.onnx")) == Path("x/a.qat.fp32.onnx")
    assert float_twin_of(Path("b.onnx")) == Path("b.fp32.onnx")


def run(*words: object):
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_the_command_shows_what_the_library_measured(net):
    common = ("--qat", net / "net.int8.onnx", "--data", net / "digits", "--threads", 1, "--workers", 1, "--batch", 16)
    result = run(*common, "--steps", 3, "--compare-fp32", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert [score["name"] for score in shown["scores"]] == ["FP32", "FP32 trained", "INT8 before", "INT8 trained"]
    assert (net / "net.qat.int8.onnx").is_file() and (net / "net.qat.fp32.onnx").is_file()
    assert shown["training"]["recipe"] == "qat with batch_size=16, steps=3"
    again = run(*common, "--steps", 3)
    assert again.exit_code == 0, again.output
    assert "up to date, not trained again" in again.stdout and "INT8 trained" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--distill"], "--distill without --qat"),
        (["--images", "5", "--learn-scales"], "--learn-scales, --images without --qat"),
        (["--qat", "absent.int8.onnx"], "absent.int8.onnx: no such file"),
        (["--qat", "a.int8.onnx", "--net", "resnet20"], "--net beside --qat"),
        (["--qat", "a.int8.onnx", "--amp", "bf16"], "amp is 'bf16'"),
        (["--qat", "a.int8.onnx", "--out", "b.safetensors"], "must end in .onnx"),
        (["--qat", "a.int8.onnx", "--distill", "--compare-fp32"], "--compare-fp32 and --distill"),
        (["--qat", "a.int8.onnx", "--images", "1"], "num_images is 1"),
    ],
)
def test_wrong_usage_is_one_message(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_two_trainings_in_a_job_of_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("resnet_deploy.train.distributed.agree_who_tells", lambda *_, **__: None)
    result = run("--qat", "a.int8.onnx", "--compare-fp32")
    assert result.exit_code == 2
    assert "job of several processes" in result.stderr
