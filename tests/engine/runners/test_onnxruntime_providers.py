from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from resnet_deploy.core.errors import ConfigError, ExitCode, MissingDependencyError
from resnet_deploy.engine.cuda_driver import CudaDriver
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.runners import onnxruntime_providers
from resnet_deploy.engine.runners.onnxruntime_providers import check_provider, choose_providers
from tests.engine.conftest import small_classifier
from tests.engine.fake_trt import DRIVER

ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with a GPU and an ONNX Runtime with every provider, as far as can be seen without trying."""
    monkeypatch.setattr(onnxruntime_providers, "query_cuda_driver", lambda: DRIVER)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ALL)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    none = CudaDriver(version=None, gpus=(), reason="no CUDA device: none here")
    monkeypatch.setattr(onnxruntime_providers, "query_cuda_driver", lambda: none)


def chosen(provider: str, precision: str = "fp32", cache: Path | None = None) -> list:
    return choose_providers(provider, small_classifier(precision), engine_cache=cache, file=Path("net.onnx"))


def test_the_default_takes_cuda_where_it_can_be_and_else_the_cpu(with_gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("") == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    assert chosen("cpu") == ["CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert chosen("") == ["CPUExecutionProvider"]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_without_a_gpu_a_provider_that_needs_one_is_refused(save_onnx, without_gpu, provider: str) -> None:
    file = save_onnx("fp32")
    with pytest.raises(MissingDependencyError, match="no CUDA device: none here") as caught:
        open_runner(file, backend=f"onnxruntime-{provider}")
    assert caught.value.exit_code == ExitCode.MISSING and str(file) in caught.value.message
    assert open_runner(file).info.device == "cpu"


def test_a_build_without_the_provider_is_refused_with_what_to_install(with_gpu, monkeypatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingDependencyError, match="has no TensorrtExecutionProvider") as caught:
        chosen("tensorrt")
    assert "onnxruntime-gpu" in caught.value.remedy


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_session_that_silently_runs_elsewhere_is_refused(save_onnx, monkeypatch, capfd, provider: str) -> None:
    """The GPU is a claim of ours here, so ONNX Runtime falls back to the CPU, for real."""
    monkeypatch.setattr(onnxruntime_providers, "query_cuda_driver", lambda: DRIVER)
    needed = onnxruntime_providers.PROVIDERS[provider]
    if needed not in ort.get_available_providers() or _cuda_works():
        pytest.skip("needs onnxruntime-gpu and no CUDA device")
    with pytest.raises(MissingDependencyError, match=f"could not load its {needed} and took"):
        open_runner(save_onnx("fp32"), backend=f"onnxruntime-{provider}")
    assert capfd.readouterr().out == ""


def _cuda_works() -> bool:
    from resnet_deploy.engine.cuda_driver import query_cuda_driver

    return bool(query_cuda_driver().gpus)


def test_the_provider_that_was_asked_for_passes_the_check() -> None:
    check_provider("tensorrt", "TensorrtExecutionProvider", file=Path("net.onnx"))
    with pytest.raises(MissingDependencyError, match="took CUDAExecutionProvider"):
        check_provider("tensorrt", "CUDAExecutionProvider", file=Path("net.onnx"))


@pytest.mark.parametrize(("precision", "fp16", "int8"), [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8", "0", "1")])
def test_tensorrt_is_allowed_the_types_of_the_file_alone(with_gpu, precision: str, fp16: str, int8: str) -> None:
    (name, options), *others = chosen("tensorrt", precision)
    assert name == "TensorrtExecutionProvider" and others == chosen("cuda")
    assert options == {"trt_fp16_enable": fp16, "trt_bf16_enable": "0", "trt_int8_enable": int8}


def test_the_engine_cache_is_a_folder_that_is_made(with_gpu, tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    (_, options), *_ = chosen("tensorrt", cache=folder)
    assert folder.is_dir() and options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(folder)


@pytest.mark.parametrize("option", ["engine_cache", "runtime_cache"])
def test_a_cache_that_a_backend_does_not_keep_is_refused(save_onnx, tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is .*, and onnxruntime keeps no such cache"):
        open_runner(save_onnx("fp32"), **{option: tmp_path / "x"})


def test_the_cpu_backend_computes_what_the_default_computes_here(save_onnx, images: np.ndarray) -> None:
    file = save_onnx("int8")
    with open_runner(file, backend="onnxruntime-cpu") as cpu, open_runner(file) as default:
        assert (cpu.info.backend, cpu.info.device) == ("onnxruntime-cpu", "cpu")
        if default.info.device == "cpu":
            feeds = {"images": images}
            np.testing.assert_array_equal(cpu.run(feeds)["logits"], default.run(feeds)["logits"])


def test_a_model_without_float16_asks_for_none(with_gpu) -> None:
    model = small_classifier("int8")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float16), "half"))
    (_, options), *_ = choose_providers("tensorrt", model, engine_cache=None, file=Path("net.onnx"))
    assert options["trt_fp16_enable"] == "1", "the planted half-precision tensor must be seen"
