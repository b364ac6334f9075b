from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from resnet_deploy.core.artifacts import manifest_path
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, EngineRunError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu
from resnet_deploy.engine.inspection.inspector import INSPECTOR_SOURCE
from resnet_deploy.engine.inspection.layer_json import layers_from_json
from resnet_deploy.engine.inspection.program_text import PROGRAM_SOURCE
from resnet_deploy.pipeline import layer_source
from resnet_deploy.pipeline.layer_source import find_layers, find_onnx
from resnet_deploy.pipeline.realised import compare_precision
from tests.engine.fake_trt import PLAN
from tests.reference.layer_files import document_10x, residual_rows
from tests.reference.qdq_graphs import int8_residual, residual_onnx
from tests.reference.small_networks import copy_of, make_table, quantize_model

_NO_GPU = CudaDriver(version=None, gpus=(), reason="no CUDA device: none in this test")
_GPU = CudaDriver(version="13.0", gpus=(Gpu(name="Fake", compute_capability="8.9", memory_bytes=1),), reason="")


@pytest.fixture(scope="module")
def _built(tmp_path_factory) -> Path:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    folder = tmp_path_factory.mktemp("engine")
    onnx.save(int8_residual(), folder / "net.onnx")
    return build_engine(BuildOptions(onnx=folder / "net.onnx", targets=("sm89",))).file


@pytest.fixture
def engine(_built: Path, tmp_path: Path) -> Path:
    """An INT8 engine, its manifest and its ONNX file, in the test's own folder."""
    for file in (_built, manifest_path(_built), _built.with_suffix(".onnx")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / _built.name


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(layer_source, "query_cuda_driver", lambda: _NO_GPU)


def _inspector(monkeypatch, answer: Any) -> None:
    def ask(file: Path, *, trust: bool) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(layer_source, "query_cuda_driver", lambda: _GPU)
    monkeypatch.setattr(layer_source, "inspect_on_gpu", ask)


def test_without_a_gpu_the_text_in_the_engine_is_read_and_that_is_said(engine: Path) -> None:
    found = find_layers(engine)
    assert found.layers is not None and found.layers.source == PROGRAM_SOURCE
    assert found.note == "engine not asked: no CUDA device: none in this test; its layers are read from the file"


def test_what_a_real_engine_does_is_held_against_its_file(engine: Path) -> None:
    """Every convolution multiplies in INT8; whether results are INT8, too, is the product's affair."""
    found = compare_precision(onnx.load(find_onnx(engine)), find_layers(engine).layers)
    assert found.passed and "12 of 12 convolutions asked in int8, 12 run in it" in found.summary
    assert all(addition.fused is not None for addition in found.additions)
    assert found.moved_bytes and all(layer.writes for layer in found.layers)


def test_a_real_engine_that_is_not_what_was_asked_for_fails(tmp_path: Path) -> None:
    """TensorRT-RTX builds this INT8 file for Turing, and computes its convolutions in floating point."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = quantize_model(residual_onnx(), make_table(residual_onnx()), float_precision=Precision.FP16)[0]
    onnx.save(model, tmp_path / "net.onnx")
    engine = build_engine(BuildOptions(onnx=tmp_path / "net.onnx", targets=("sm75", "sm86"))).file
    found = compare_precision(model, find_layers(engine).layers)
    assert not found.passed and {layer.reads for layer in found.missed} == {"fp16"}
    assert all("where sm75 is among the targets" in layer.reason for layer in found.missed)
    assert "12 of 12 convolutions asked in int8, 0 run in it" in found.summary


def test_nodes_without_names_are_found_by_the_names_that_the_parser_gives_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = copy_of(int8_residual())
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "net.onnx")
    engine = build_engine(BuildOptions(onnx=tmp_path / "net.onnx", targets=("sm89",))).file
    found = compare_precision(onnx.load(tmp_path / "net.onnx"), find_layers(engine).layers)
    assert found.passed and found.layers[0].node == "node_of_conv1" and found.layers[0].reads == "int8"


def test_with_a_gpu_the_engine_is_asked(engine: Path, monkeypatch) -> None:
    told = layers_from_json(json.dumps(document_10x(residual_rows())), source=INSPECTOR_SOURCE)
    _inspector(monkeypatch, told)
    found = find_layers(engine)
    assert found.layers is told and found.note == ""


def test_a_gpu_that_the_engine_is_not_for_leaves_the_text(engine: Path, monkeypatch) -> None:
    _inspector(monkeypatch, EngineRunError("built for another GPU"))
    found = find_layers(engine)
    assert found.layers.source == PROGRAM_SOURCE and "built for another GPU" in found.note


def test_an_engine_that_was_changed_is_neither_loaded_nor_explained(engine: Path, monkeypatch) -> None:
    _inspector(monkeypatch, ArtifactMismatchError("SHA-256 is other"))
    with pytest.raises(ArtifactMismatchError):
        find_layers(engine)


def test_a_layer_file_goes_before_all_others(engine: Path, tmp_path: Path, monkeypatch) -> None:
    _inspector(monkeypatch, EngineRunError("must not be asked"))
    (tmp_path / "layers.json").write_text(json.dumps(document_10x(residual_rows())))
    found = find_layers(engine, layer_file=tmp_path / "layers.json")
    assert found.layers.source == str(tmp_path / "layers.json") and found.note == ""


def test_an_engine_of_tensorrt_can_not_be_asked_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "net.engine").write_bytes(PLAN)
    found = find_layers(tmp_path / "net.engine")
    assert found.layers is None and found.note == "engine not asked: no CUDA device: none in this test"


def test_a_file_without_its_text_is_told_with_the_reason(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes().replace(b"NLYM", b"nlym"))
    found = find_layers(engine)
    assert found.layers is None and "its text does not tell" in found.note


def test_the_onnx_file_is_the_one_of_the_manifest(engine: Path) -> None:
    assert find_onnx(engine) == engine.with_suffix(".onnx")
    engine.with_suffix(".onnx").write_bytes(b"changed")
    with pytest.raises(ArtifactMismatchError, match="was changed since"):
        find_onnx(engine)
    engine.with_suffix(".onnx").unlink()
    with pytest.raises(ArtifactError, match="which is not here") as caught:
        find_onnx(engine)
    assert "--onnx" in caught.value.remedy
    manifest_path(engine).unlink()
    with pytest.raises(ArtifactError, match="not known what was asked of it"):
        find_onnx(engine)
