"""Which of ONNX Runtime's execution providers runs a file, with which options; one that is asked for runs or fails."""

from __future__ import annotations

__all__ = ["CPU", "PROVIDERS", "check_provider", "choose_providers", "why_not"]

import contextlib
import io
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.onnx_file import onnx_precision

CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Name on our side, as in the backend onnxruntime-cuda -> ONNX Runtime's."""

_INSTALL = "pip install onnxruntime-gpu in place of onnxruntime"


def why_not(provider: str) -> tuple[str, str]:
    """Why a provider can not run here as far as can be known without trying, and what to install; ("", "") if it can."""
    if PROVIDERS[provider] not in ort.get_available_providers():
        return f"this build of ONNX Runtime has no {PROVIDERS[provider]}", _INSTALL
    driver = query_cuda_driver()
    return ("", "") if provider == "cpu" or driver.gpus else (driver.reason, "")


def choose_providers(provider: str, model: onnx.ModelProto, *, engine_cache: Path | None, file: Path) -> list[Any]:
    """What a session is opened with: the provider and those that take over what it can not do.

    Args:
        provider: One of PROVIDERS, or "": CUDA where it can be, else the CPU.
    Raises:
        MissingDependencyError: It can not run here.
    """
    if not provider:
        provider = "cpu" if why_not("cuda")[0] else "cuda"
    reason, install = why_not(provider)
    if reason:
        raise MissingDependencyError(
            f"{file} can not run in ONNX Runtime's {PROVIDERS[provider]}: {reason}",
            remedy=install or "run it where there is a GPU, or in onnxruntime-cpu",
        )
    if provider == "cpu":
        return [CPU]
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # where it prints what it does not find
            ort.preload_dlls()  # finds the CUDA libraries of the torch wheel
    chain = [(PROVIDERS["cuda"], {"use_tf32": "0"}), CPU]
    if provider == "tensorrt":
        chain.insert(0, (PROVIDERS["tensorrt"], _tensorrt_options(model, engine_cache)))
    return chain


def check_provider(provider: str, running: str, *, file: Path) -> None:
    """Refuse a session in which ONNX Runtime silently took another provider.

    Raises:
        MissingDependencyError: `running`, the first of the session's providers, is not the one that was asked for.
    """
    if running != PROVIDERS[provider]:
        libraries = "TensorRT and CUDA" if provider == "tensorrt" else "CUDA and cuDNN"
        raise MissingDependencyError(
            f"{file}: ONNX Runtime {ort.__version__} could not load its {PROVIDERS[provider]} and took {running}",
            remedy=f"install the versions of {libraries} that this ONNX Runtime was built for, or run onnxruntime-cpu",
        )


def _tensorrt_options(model: onnx.ModelProto, engine_cache: Path | None) -> dict[str, str]:
    """The types that the file itself uses are allowed, and no others.

    TensorRT 10 is driven weakly typed by this provider: without its flag a type is computed in FP32.
    """
    precision = onnx_precision(model)
    half = precision is Precision.FP16 or any(
        tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer
    )
    options = {
        "trt_fp16_enable": str(int(half)),
        "trt_bf16_enable": str(int(precision is Precision.BF16)),
        "trt_int8_enable": str(int(precision is Precision.INT8)),
    }
    if engine_cache is not None:
        engine_cache.mkdir(parents=True, exist_ok=True)
        folder = str(engine_cache)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    return options
