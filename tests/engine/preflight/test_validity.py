from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace

import pytest

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.preflight import validity
from resnet_deploy.engine.preflight.check import State
from resnet_deploy.engine.preflight.validity import ask_runtime

Validity = IntEnum("Validity", {"VALID": 0, "SUBOPTIMAL": 1, "INVALID": 2})
Diagnostics = IntEnum(
    "Diagnostics",
    {
        "VERSION_MISMATCH": 1,
        "UNSUPPORTED_CC": 2,
        "OLD_CUDA_DRIVER": 4,
        "OLD_CUDA_RUNTIME": 8,
        "INSUFFICIENT_GPU_MEMORY": 16,
        "MALFORMED_ENGINE": 32,
        "CUDA_ERROR": 64,
    },
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch):
    """answering(validity, diagnostics) puts a runtime in place that says so."""

    def put(answer: Validity, diagnostics: int) -> None:
        runtime = SimpleNamespace(get_engine_validity=lambda head: (answer, diagnostics))
        module = SimpleNamespace(
            __version__="1.7.1.116",
            Runtime=lambda logger: runtime,
            EngineValidity=Validity,
            EngineInvalidityDiagnostics=Diagnostics,
        )
        monkeypatch.setattr(validity, "import_product", lambda product: module)
        monkeypatch.setattr(validity, "trt_logger", lambda trt: None)

    return put


@pytest.mark.parametrize(
    ("answer", "diagnostics", "state", "says"),
    [
        (Validity.VALID, 0, State.GOOD, "valid"),
        (Validity.SUBOPTIMAL, 4, State.GOOD, "not at its best (old cuda driver)"),
        (Validity.INVALID, 0, State.NOT_CHECKED, "could not ask the GPU"),
        (Validity.INVALID, 64, State.NOT_CHECKED, "could not ask the GPU"),
        (Validity.INVALID, 1, State.MISFIT, "version mismatch"),
        (Validity.INVALID, 2 + 16, State.MISFIT, "unsupported cc, insufficient gpu memory"),
        (Validity.INVALID, 1 + 64, State.MISFIT, "version mismatch"),
        (Validity.INVALID, 32, State.DAMAGED, "malformed engine"),
    ],
)
def test_each_opinion_of_the_runtime_becomes_an_answer(
    rtx, answering, answer: Validity, diagnostics: int, state: State, says: str
) -> None:
    answering(answer, diagnostics)
    check = ask_runtime("tensorrt-rtx", bytes(64))
    assert check.state is state and says in check.text and "1.7.1.116" in check.text


def test_tensorrt_is_not_asked() -> None:
    assert ask_runtime("tensorrt", bytes(64)) is None


def test_a_library_that_does_not_load_is_told(rtx, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(product: object) -> None:
        raise MissingDependencyError("tensorrt-rtx can not be loaded: no libcudart")

    monkeypatch.setattr(validity, "import_product", fail)
    check = ask_runtime("tensorrt-rtx", bytes(64))
    assert check.state is State.NOT_CHECKED and "no libcudart" in check.text


def test_the_real_runtime_is_not_believed_without_a_gpu(save_onnx, rtx) -> None:
    if query_cuda_driver().gpus:
        pytest.skip("there is a GPU")
    head = build_engine(BuildOptions(onnx=save_onnx("fp32"), targets=("sm86",))).file.read_bytes()[:64]
    assert ask_runtime("tensorrt-rtx", head).state is State.NOT_CHECKED
    assert ask_runtime("tensorrt-rtx", b"\x89PNG" + head[4:]).state is State.DAMAGED
