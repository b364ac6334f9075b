"""`inspect --layers` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from resnet_deploy.cli.main import app
from resnet_deploy.engine.cuda_driver import CudaDriver
from resnet_deploy.pipeline import layer_source
from tests.engine.fake_trt import PLAN
from tests.reference.layer_files import document_10x, residual_rows
from tests.reference.qdq_graphs import int8_residual


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *(str(argument) for argument in arguments)])


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> tuple[Path, Path]:
    """An ONNX file, and a place for a layer file; no GPU."""
    driver = CudaDriver(version=None, gpus=(), reason="no CUDA device: none in this test")
    monkeypatch.setattr(layer_source, "query_cuda_driver", lambda: driver)
    onnx.save(int8_residual(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx", tmp_path / "layers.json"


def _write(file: Path, **faults) -> Path:
    file.write_text(json.dumps(document_10x(residual_rows(**faults))))
    return file


def test_a_layer_file_made_elsewhere_is_held_against_the_onnx_file(files) -> None:
    result = call(files[0], "--layers-from", _write(files[1]))
    assert result.exit_code == 0, result.output
    assert "12 of 12 convolutions asked in int8, 12 run in it" in " ".join(result.stdout.split())
    assert "Not as asked" not in result.stdout


def test_a_layer_in_float_fails_unless_it_is_accepted(files, tmp_path: Path) -> None:
    layers = _write(files[1], floats=("layer1.0.conv2",))
    result = call(files[0], "--layers-from", layers, "--json")
    assert result.exit_code == 1 and "not as asked: 1 layer multiplies in another type: layer1.0.conv2" in said(result)
    told = json.loads(result.stdout)["layers"]
    assert told["passed"] is False and told["onnx"] == str(files[0])
    missed = [layer["node"] for layer in told["layers"] if layer["reason"]]
    assert missed == ["layer1.0.conv2"]
    assert call(files[0], "--layers-from", layers, "--float-ok", "layer1.0.conv2").exit_code == 0
    assert "multiplies in another type" in call(files[0], "--layers-from", layers).stdout


def test_results_in_float_fail_where_it_is_strict(files) -> None:
    layers = _write(files[1], wide=("conv1",), alone=("layer1.0",))
    result = call(files[0], "--layers-from", layers)
    assert result.exit_code == 0 and "result not in int8" in result.stdout and "addition not fused" in result.stdout
    assert call(files[0], "--layers-from", layers, "--strict").exit_code == 1
    strict = said(call(files[0], "--layers-from", layers, "--strict"))
    assert "not as asked: 1 result is wider: conv1; 1 addition is not fused: layer1.0.add" in strict


def test_an_onnx_file_alone_gives_what_is_expected_and_a_picture(files, tmp_path: Path) -> None:
    result = call(files[0], "--layers", "--picture", tmp_path / "net.svg")
    assert result.exit_code == 0, result.output
    assert "expected by TensorRT's rules, no engine was asked" in " ".join(result.stdout.split())
    assert (tmp_path / "net.svg").read_bytes().startswith(b"<?xml")


def test_an_engine_that_can_not_be_asked_here_gives_what_is_expected(files, tmp_path: Path) -> None:
    (tmp_path / "net.engine").write_bytes(PLAN)
    result = call(tmp_path / "net.engine", "--layers", "--onnx", files[0])
    assert result.exit_code == 0 and "engine not asked: no CUDA device" in said(result)
    assert "expected by TensorRT's rules" in " ".join(result.stdout.split())


def test_a_real_engine_is_asked_through_its_text(files, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    assert CliRunner().invoke(app, ["build", str(files[0]), "--target", "sm89"]).exit_code == 0
    engine = files[0].with_suffix(".engine")
    result = call(engine, "--layers", "--picture", tmp_path / "net.png", "--json")
    told = json.loads(result.stdout)["layers"]
    assert result.exit_code == 0 and told["passed"] and told["source"] == "the program text in the engine"
    assert {layer["reads"] for layer in told["layers"]} == {"int8"}
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strict"], "--strict: only with --layers"),
        (["--picture", "x.png", "--float-ok", "conv1"], "--picture, --float-ok: only with --layers"),
        (["--layers", "--picture", "x.jpg"], "expected a name that ends in .png or .svg"),
        (["--layers", "--float-ok", "conv9"], "no layer is called 'conv9'"),
        (["--layers", "--onnx", "other.onnx"], "are both ONNX files"),
        (["--layers-from", "gone.json"], "gone.json: no such file"),
    ],
)
def test_wrong_use_is_refused_with_what_is_wrong(files, arguments: list[str], says: str) -> None:
    result = call(files[0], *arguments)
    assert result.exit_code == 2 and says in said(result) and "Traceback" not in result.output


def test_one_file_at_a_time_and_only_of_the_right_kind(files, tmp_path: Path) -> None:
    result = call(files[0], files[0], "--layers")
    assert result.exit_code == 2 and "--layers is for one file, got 2" in said(result)
    (tmp_path / "layers.json.json").write_text("{}")
    result = call(tmp_path / "gone.engine", "--layers")
    assert result.exit_code == 2 and "no such file" in said(result)
