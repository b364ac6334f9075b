"""Asking an engine, with a stand-in for the library: order of calls and error paths, not the library's answers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, EngineRunError
from resnet_deploy.engine import products
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.inspection import inspector
from resnet_deploy.engine.inspection.inspector import INSPECTOR_SOURCE, ask_inspector, inspect_on_gpu
from resnet_deploy.engine.runners import cuda_device
from tests.reference.layer_files import document_10x, document_11x, residual_rows


def _module(asked: list) -> Any:
    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            asked.append(("deserialize", len(data)))

    class ILogger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    return SimpleNamespace(
        __name__="tensorrt_rtx",
        __version__="1.7.1.116",
        ILogger=ILogger,
        Runtime=Runtime,
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
        TensorIOMode=SimpleNamespace(INPUT="in"),
    )


class _Engine:
    """An engine with one dynamic input that answers `texts[0]` with a context and `texts[1]` without one."""

    num_io_tensors = 2

    def __init__(self, *texts: str, takes_shape: bool = True) -> None:
        self.texts, self.takes_shape, self.shapes = texts, takes_shape, []

    def get_tensor_name(self, index: int) -> str:
        return ("images", "logits")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "images" else "out"

    def get_tensor_shape(self, name: str) -> tuple:
        return (-1, 3, 8, 8)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list:
        return [(1, 3, 8, 8), (4, 3, 8, 8), (9, 3, 8, 8)]

    def create_execution_context(self) -> Any:
        def set_input_shape(name: str, shape: tuple) -> bool:
            self.shapes.append((name, shape))
            return self.takes_shape

        return SimpleNamespace(set_input_shape=set_input_shape)

    def create_engine_inspector(self) -> Any:
        engine = self

        class Inspector:
            execution_context = "not set"

            def get_engine_information(self, layout: str) -> str:
                assert layout == "JSON" and self.execution_context != "not set"
                return engine.texts[0 if self.execution_context is not None else 1]

        return Inspector()


@pytest.mark.parametrize("make", [document_10x, document_11x])
def test_an_engine_is_asked_with_the_shapes_it_is_tuned_for(make) -> None:
    engine = _Engine(json.dumps(make(residual_rows())), "never asked for")
    found = ask_inspector(_module([]), engine, product="tensorrt-rtx")
    assert engine.shapes == [("images", (4, 3, 8, 8))]
    assert (found.source, found.product, found.version) == (INSPECTOR_SOURCE, "tensorrt-rtx", "1.7.1.116")
    assert len(found.layers) == len(residual_rows())


@pytest.mark.parametrize("takes_shape", [True, False])
def test_one_that_tells_nothing_with_a_context_is_asked_without(takes_shape: bool) -> None:
    text = json.dumps(document_11x(residual_rows()))
    engine = _Engine("" if takes_shape else "never asked for", text, takes_shape=takes_shape)
    assert ask_inspector(_module([]), engine, product="tensorrt").layout == "11.x"


def test_silence_and_names_alone_are_errors_that_say_what_to_do() -> None:
    with pytest.raises(EngineRunError, match="says nothing"):
        ask_inspector(_module([]), _Engine("", " "), product="tensorrt")
    names = json.dumps({"Layers": ["conv1 + relu"], "Bindings": ["images"]})
    with pytest.raises(ArtifactError, match="names of 1 layers"):
        ask_inspector(_module([]), _Engine(names, names), product="tensorrt")


def test_only_an_engine_that_its_manifest_vouches_for_is_loaded(save_onnx, rtx, monkeypatch) -> None:
    engine = build_engine(BuildOptions(onnx=save_onnx("fp32"), targets=("sm89",))).file
    asked: list = []
    monkeypatch.setattr(inspector, "import_product", lambda product: _module(asked))
    monkeypatch.setattr(cuda_device, "open_cuda_device", lambda purpose: SimpleNamespace(name="Fake GPU"))
    monkeypatch.setattr(products, "_LOGGERS", {})
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(ArtifactMismatchError):
        inspect_on_gpu(engine)
    assert not asked
    with pytest.raises(EngineRunError, match=r"can not be loaded by tensorrt_rtx 1\.7\.1\.116 on Fake GPU"):
        inspect_on_gpu(engine, trust=True)
    assert asked == [("deserialize", len(data))]
