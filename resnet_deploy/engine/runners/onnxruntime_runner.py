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
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.runners.base import BaseRunner
from resnet_deploy.engine.runners.onnxruntime_providers import CPU, check_provider, choose_providers
from resnet_deploy.graph.bfloat16 import BF16_NOTE, computes_in_bf16
from resnet_deploy.graph.external_data import read_onnx_with_data
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
    """ONNX Runtime with all graph optimisations that keep the result, on one of its providers.

    Several threads may run one session, so `fork` shares it.

    Args:
        provider: As in `engine.runners.onnxruntime_providers.PROVIDERS`: "" takes CUDA where there is a GPU that it can use,
            else the CPU; "cpu", "cuda" and "tensorrt" take that one or fail.
        engine_cache: Folder where the TensorRT provider keeps the engines it builds; None builds them each time.
    Raises:
        MissingDependencyError: That provider is not here.
        GraphError: ONNX Runtime can not run the file.
    """

    def __init__(
        self, file: Path, *, num_threads: int = 0, provider: str = "", engine_cache: Path | None = None
    ) -> None:
        model, _ = read_onnx_with_data(file)
        wanted = choose_providers(provider, model, engine_cache=engine_cache, file=file)
        # the TensorRT provider has every type; the others are kept from what they compute wrongly
        given = model if provider == "tensorrt" else runnable(model)
        self._session = _open_session(file, given, num_threads, wanted)
        running = self._session.get_providers()[0]
        if provider:
            check_provider(provider, running, file=file)
        self._device = "cpu" if running == CPU else "cuda"
        self.info = RunnerInfo(
            backend=f"onnxruntime-{provider}" if provider else "onnxruntime",
            version=ort.__version__,
            device="cpu" if running == CPU else query_cuda_driver().gpus[0].name,
            file=str(file),
            inputs=tuple(_tensor_spec(file, value) for value in self._session.get_inputs()),
            outputs=tuple(_tensor_spec(file, value) for value in self._session.get_outputs()),
            note=BF16_NOTE if given is not model and computes_in_bf16(model) else "",
        )

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [spec.name for spec in self.info.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineRunError(f"{self.info.file}: ONNX Runtime failed: {_first_line(error)}") from error

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        device = self._device
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


def _open_session(file: Path, model: onnx.ModelProto, num_threads: int, providers: list[Any]) -> ort.InferenceSession:
    ort.set_default_logger_severity(_FATAL_ONLY)
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = num_threads
    try:
        # where a provider does not load, ONNX Runtime prints so on stdout and takes the next; the caller asks which
        with contextlib.redirect_stdout(io.StringIO()):
            return ort.InferenceSession(
                model.SerializeToString(),
                options,
                providers=providers,
                disabled_optimizers=wrong_passes(model),
            )
    except GraphError:
        raise
    except Exception as error:  # as above
        raise GraphError(
            f"{file} is not an ONNX file that ONNX Runtime can run: {_first_line(error)}",
            remedy="make it again with `resnet-deploy export`; a file that was cut off looks like this too",
        ) from error


def _tensor_spec(file: Path, value: Any) -> TensorSpec:
    if value.type not in _DTYPES:
        raise GraphError(f"{file}: {value.name} has type {value.type}, supported are {', '.join(_DTYPES)}")
    shape = tuple(-1 if axis is None else axis for axis in value.shape)
    return TensorSpec(name=value.name, dtype=_DTYPES[value.type], shape=shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
