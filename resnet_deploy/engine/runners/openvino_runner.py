"""Running an ONNX file in OpenVINO: a second, independent reference on the CPU, Q/DQ in real INT8 arithmetic."""

from __future__ import annotations

__all__ = ["OpenVinoRunner"]

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from resnet_deploy.core.errors import EngineRunError, GraphError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.runners.base import BaseRunner
from resnet_deploy.graph.external_data import read_onnx_with_data

if TYPE_CHECKING:
    from typing_extensions import Self


class OpenVinoRunner(BaseRunner):
    """OpenVINO's CPU plugin, tuned for latency.

    The inference precision is held at f32: without that hint the plugin computes float layers in bfloat16 on
    processors that have it, and a parity check would measure the processor. Q/DQ layers run in INT8 anyway.
    """

    def __init__(self, file: Path, *, num_threads: int = 0) -> None:
        read_onnx_with_data(file)  # OpenVINO tries every other format on a broken file, and says so at length
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if num_threads:
            config["INFERENCE_NUM_THREADS"] = num_threads
        try:
            self._net = ov.Core().compile_model(str(file), "CPU", config)
        except RuntimeError as error:
            raise GraphError(
                f"{file}: OpenVINO can not compile it: {_last_line(error)}",
                remedy="make it again with `resnet-deploy export`, or run it in onnxruntime",
            ) from error
        self._request = self._net.create_infer_request()
        self.info = RunnerInfo(
            backend="openvino",
            version=ov.__version__.split("-")[0],
            device="cpu",
            file=str(file),
            inputs=tuple(_tensor_spec(port) for port in self._net.inputs),
            outputs=tuple(_tensor_spec(port) for port in self._net.outputs),
        )

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self._request.infer(dict(feeds))
        except RuntimeError as error:
            raise EngineRunError(f"{self.info.file}: OpenVINO failed: {_last_line(error)}") from error
        return {spec.name: np.array(results[spec.name]) for spec in self.info.outputs}

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        for name, array in feeds.items():
            self._request.set_tensor(name, ov.Tensor(np.ascontiguousarray(array)))
        seconds = np.empty(iterations)
        try:
            for index in range(iterations):
                start = time.perf_counter()
                self._request.start_async()
                self._request.wait()
                seconds[index] = time.perf_counter() - start
        except RuntimeError as error:
            raise EngineRunError(f"{self.info.file}: OpenVINO failed: {_last_line(error)}") from error
        return seconds

    def _forked(self, other: Self) -> Self:
        other._request = self._net.create_infer_request()
        return other

    def _release(self) -> None:
        del self._request, self._net


def _tensor_spec(port: Any) -> TensorSpec:
    shape = tuple(dim.get_length() if dim.is_static else -1 for dim in port.partial_shape)
    return TensorSpec(name=port.any_name, dtype=str(np.dtype(port.element_type.to_dtype())), shape=shape)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
