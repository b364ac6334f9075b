"""Running an ONNX file in ONNX Runtime: the portable reference of the very graph an engine is built from."""

from __future__ import annotations

__all__ = ["OnnxRuntimeRunner"]

import contextlib
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from resnet_deploy.core.errors import EngineRunError, GraphError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.base import BaseRunner
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.graph.bfloat16 import BF16_NOTE, computes_in_bf16
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.session import runnable, wrong_passes

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_FATAL_ONLY = 4  # what ONNX Runtime has to say comes as an exception as well


class OnnxRuntimeRunner(BaseRunner):
    """ONNX Runtime with all graph optimisations that keep the result; CUDA provider (TF32 off) where there is a GPU, else the CPU."""

    def __init__(self, file: Path, *, num_threads: int = 0) -> None:
        model = read_onnx(file)
        self._session = _open_session(file, model, num_threads)
        self._on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        self.info = RunnerInfo(
            backend="onnxruntime",
            version=ort.__version__,
            device=query_cuda_driver().gpus[0].name if self._on_gpu else "cpu",
            file=str(file),
            inputs=tuple(_tensor_spec(file, value) for value in self._session.get_inputs()),
            outputs=tuple(_tensor_spec(file, value) for value in self._session.get_outputs()),
            note=BF16_NOTE if computes_in_bf16(model) else "",
        )

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [spec.name for spec in self.info.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineRunError(f"{self.info.file}: ONNX Runtime failed: {_first_line(error)}") from error

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        device = "cuda" if self._on_gpu else "cpu"
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0))
        for spec in self.info.outputs:
            binding.bind_output(spec.name, device)
        seconds = np.empty(iterations)
        try:
            for index in range(iterations):
                start = time.perf_counter()
                self._session.run_with_iobinding(binding)
                binding.synchronize_outputs()
                seconds[index] = time.perf_counter() - start
        except Exception as error:  # as above
            raise EngineRunError(f"{self.info.file}: ONNX Runtime failed: {_first_line(error)}") from error
        return seconds

    def _release(self) -> None:
        del self._session


def _open_session(file: Path, model: onnx.ModelProto, num_threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(_FATAL_ONLY)
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = num_threads
    try:
        # where the CUDA provider does not load, ONNX Runtime prints so on stdout and takes the CPU; `info.device` tells
        with contextlib.redirect_stdout(io.StringIO()):
            return ort.InferenceSession(
                runnable(model).SerializeToString(),
                options,
                providers=_providers(),
                disabled_optimizers=wrong_passes(model),
            )
    except GraphError:
        raise
    except Exception as error:  # as above
        raise GraphError(
            f"{file} is not an ONNX file that ONNX Runtime can run: {_first_line(error)}",
            remedy="make it again with `resnet-deploy export`; a file that was cut off looks like this too",
        ) from error


def _providers() -> list[Any]:
    if query_cuda_driver().gpus and "CUDAExecutionProvider" in ort.get_available_providers():
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # finds the CUDA libraries of the torch wheel
        return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _tensor_spec(file: Path, value: Any) -> TensorSpec:
    if value.type not in _DTYPES:
        raise GraphError(f"{file}: {value.name} has type {value.type}, supported are {', '.join(_DTYPES)}")
    shape = tuple(-1 if axis is None else axis for axis in value.shape)
    return TensorSpec(name=value.name, dtype=_DTYPES[value.type], shape=shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
