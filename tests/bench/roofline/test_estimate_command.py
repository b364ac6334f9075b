from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest


def run(*arguments: str):
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)])


def test_the_bounds_are_shown_and_kept(tmp_path: Path) -> None:
    out, csv, picture = tmp_path / "e.json", tmp_path / "e.csv", tmp_path / "e.png"
    done = run("--net", "resnet8", "--target", "l4,t4", "--batches", "1", "--out", out, "--csv", csv,
               "--picture", picture)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "ms at best" in done.output and "resnet8" in done.output and "tensorrt-rtx" in done.output
    assert read_manifest(out).kind == "estimate"
    assert picture.read_bytes().startswith(b"\x89PNG") and csv.read_text().startswith("net,size_px")


def test_one_json_document_is_printed() -> None:
    plain = json.loads(run("--net", "resnet8", "--target", "l4", "--layers", "--json").stdout)
    assert len(plain["networks"]) == 3 * 3 + 3 and plain["layers"]


def test_every_layer_and_what_bounds_it_is_shown() -> None:
    shown = run("--net", "resnet8", "--target", "l4", "--batches", "1", "--precision", "fp16", "--layers").output
    assert "layer2.0.conv2" in shown and "us through memory" in shown


def test_published_measurements_are_shown_without_a_network() -> None:
    done = run("--published", "--target", "l4")
    assert done.exit_code == 0 and "0 of 3 beat their bound" in done.output


def test_the_gpus_are_listed_with_marks() -> None:
    done = run("--list")
    assert done.exit_code == 0 and "orin-agx" in done.output and "204.8 ?" in done.output
    assert json.loads(run("--list", "--json").stdout)["gpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--depth", "50", "--target", "l5"), "unknown GPU 'l5'"),
        (("--depth", "50"), "no GPU was named"),
        ((), "nothing to estimate was named"),
        (("--depth", "51", "--target", "l4"), "unknown depth 51"),
        (("--depth", "50", "--target", "l4", "--precision", "int4"), "unknown precision 'int4'"),
        (("--depth", "50", "--target", "l4", "--batches", "1,x"), "--batches 1,x: not a list"),
        (("--net", "vgg16", "--target", "l4", "--size", "8"), "can not take an image of 8 x 8 px"),
        (("--published", "--csv", "x.csv"), "name one, e.g. --depth 50"),
        (("--net", "resnet8", "--target", "l4", "--picture", "x.jpg"), "written as .png or .svg"),
        (("nowhere.onnx", "--target", "l4"), "nowhere.onnx: no such file"),
        (("--measured", "nowhere.json",), "nowhere.json"),
        (("--net", "resnet8", "--target", "l4", "--catalogue", "nowhere.toml"), "nowhere.toml: no such file"),
    ],
)  # fmt: skip
def test_wrong_input_gives_one_message_and_code_2(arguments: tuple, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_precision_that_a_gpu_lacks_is_said_and_the_rest_is_shown() -> None:
    done = run("--net", "resnet8", "--target", "a100", "--precision", "fp16,fp8", "--batches", "1")
    assert done.exit_code == 0 and "Not estimated: resnet8, fp8" in done.output
