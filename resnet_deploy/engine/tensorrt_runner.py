"""Running an engine, with TensorRT 10.x or 11.x or TensorRT-RTX: the API they have in common.

What only some of them have is looked for by attribute. docs/reference/unverified.md lists what no test here runs.
"""

from __future__ import annotations

__all__ = ["TensorRTRunner", "open_tensorrt"]

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.base import BaseRunner
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.cuda_device import CudaDevice, open_cuda_device
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.products import collected_log, find_product, import_product, trt_logger

_PROFILE = 0  # build_engine makes one
_RUNTIME_CACHES: dict[str, Any] = {}
"""SHA-256 of an engine -> the GPU kernels TensorRT-RTX compiled for it in this process, as it serialised them."""


def open_tensorrt(file: Path, data: bytes, *, product: str) -> TensorRTRunner:
    """A runner for an engine whose bytes the caller trusts.

    Raises:
        MissingDependencyError: The product or a GPU is not here.
        EngineRunError: The product refuses the engine.
    """
    trt = import_product(find_product(product))
    return TensorRTRunner(file, data, trt=trt, product=product, device=open_cuda_device(f"running {file}"))


class TensorRTRunner(BaseRunner):
    """One engine, one execution context, one stream."""

    def __init__(self, file: Path, data: bytes, *, trt: ModuleType, product: str, device: CudaDevice) -> None:
        self._trt, self._device, self._file = trt, device, file
        self._digest = sha256_of_bytes(data)
        with collected_log(trt) as log:
            self._runtime = trt.Runtime(trt_logger(trt))
            self._engine = self._runtime.deserialize_cuda_engine(data)
            if self._engine is None:
                raise EngineRunError(_refusal(file, trt, log), remedy="build it for this GPU with this version")
            self._cache = None
            self._context = self._make_context()
            if self._context is None:
                raise EngineRunError(f"{file}: no execution context: {_said(log)}", remedy="free some GPU memory")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.info = RunnerInfo(
            backend=product,
            version=trt.__version__,
            device=device.name,
            file=str(file),
            inputs=tuple(self._tensor_spec(name) for name in inputs),
            outputs=tuple(self._tensor_spec(name) for name in names if name not in inputs),
            max_batch=min(self._max_batch(name) for name in inputs),
        )

    def _make_context(self) -> Any:
        if not hasattr(self._engine, "create_runtime_config"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
            # By default TensorRT-RTX compiles kernels for a shape in the background and changes over when they
            # are ready; what is validated and timed must be what runs afterwards.
            strategy = self._trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER
        if hasattr(config, "create_runtime_cache"):
            self._cache = config.create_runtime_cache()
            if self._digest in _RUNTIME_CACHES:
                self._cache.deserialize(_RUNTIME_CACHES[self._digest])
            config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)

    def _tensor_spec(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name)
        try:
            dtype = np.dtype(self._trt.nptype(kind))
        except TypeError as error:  # BF16 and FP8: numpy has no such type
            raise EngineRunError(
                f"{self._file}: {name} is {kind}, which numpy can not hold",
                remedy="to run it from Python, export with --io fp32 or fp16 and build again",
            ) from error
        return TensorSpec(name=name, dtype=dtype.name, shape=tuple(self._engine.get_tensor_shape(name)))

    def _max_batch(self, name: str) -> int:
        size = self._engine.get_tensor_shape(name)[0]
        return size if size > 0 else self._engine.get_tensor_profile_shape(name, _PROFILE)[2][0]

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with collected_log(self._trt) as log:
            # the buffers must stay referenced until the stream has passed them
            _inputs, outputs = self._bind(feeds, log)
            self._enqueue(log)
            return {name: self._device.download(buffer) for name, buffer in outputs.items()}

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        with collected_log(self._trt) as log:
            _inputs, _outputs = self._bind(feeds, log)
            return self._device.time_passes(lambda: self._enqueue(log), iterations)

    def _bind(self, feeds: Mapping[str, np.ndarray], log: list) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = {name: self._device.upload(array) for name, array in feeds.items()}
        for name, array in feeds.items():
            if not self._context.set_input_shape(name, array.shape):
                smallest = tuple(self._engine.get_tensor_profile_shape(name, _PROFILE)[0])
                raise EngineRunError(
                    f"{self._file}: input {name} can not be {list(array.shape)}, its profile begins at "
                    f"{list(smallest)}: {_said(log)}",
                    remedy="give a batch inside the profile, or build with another --batch-profile",
                )
        outputs = {}
        for spec in self.info.outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            outputs[spec.name] = self._device.empty(shape, np.dtype(spec.dtype))
        for name, buffer in {**inputs, **outputs}.items():
            if not self._context.set_tensor_address(name, buffer.data_ptr()):
                raise EngineRunError(f"{self._file}: no memory could be bound to {name}: {_said(log)}")
        return inputs, outputs

    def _enqueue(self, log: list) -> None:
        if not self._context.execute_async_v3(self._device.stream_handle):
            raise EngineRunError(f"{self._file}: {self.info.backend} failed to run it: {_said(log)}")

    def _release(self) -> None:
        if self._cache is not None:
            _RUNTIME_CACHES[self._digest] = self._cache.serialize()
        # in this order: a context must not outlive its engine, nor an engine its runtime
        del self._context, self._cache, self._engine, self._runtime


def _refusal(file: Path, trt: ModuleType, log: list[tuple[str, str]]) -> str:
    header = read_engine_header(file)
    here = ", ".join(f"{gpu.name} (sm{gpu.compute_capability.replace('.', '')})" for gpu in query_cuda_driver().gpus)
    built = f"{header.product} {header.version}" + (f" for {' '.join(header.targets)}" if header.targets else "")
    return (
        f"{file} can not be loaded by {trt.__name__} {trt.__version__} on {here or 'this machine'}; "
        f"it was built by {built}: {_said(log)}"
    )


def _said(log: list[tuple[str, str]]) -> str:
    return "; ".join(message for _, message in log) or "no reason given"
