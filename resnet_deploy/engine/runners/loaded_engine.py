"""An engine in memory, with all that its execution contexts share; several runners may have it open.

TensorRT 10.x, 11.x and TensorRT-RTX; what only some of them have is looked for by attribute.
"""

from __future__ import annotations

__all__ = ["EngineSettings", "LoadedEngine", "said"]

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.files import check_writable, sha256_of_bytes
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import ShapeProfile
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.products import collected_log, trt_logger
from resnet_deploy.engine.runners.cuda_device import CudaDevice
from resnet_deploy.engine.runners.refit import refit_engine, weights_of_stripped
from resnet_deploy.engine.runners.runtime_cache import CacheKey, read_runtime_cache, write_runtime_cache


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """How to run an engine.

    Attributes:
        cuda_graphs: Replay passes as CUDA graphs, which takes the launches of single kernels away.
        runtime_cache: File in which TensorRT-RTX keeps the kernels it compiled for the GPU; None keeps them in
            this process alone. TensorRT, which compiles none at run time, has no use for it.
    """

    cuda_graphs: bool = True
    runtime_cache: Path | None = None


class LoadedEngine:
    """The runtime, the engine, and the runtime configuration of TensorRT-RTX; freed when the last user releases it.

    Attributes:
        lock: To be held while a context is made or a graph captured; nothing of a pass needs it.
        log: ("error" or "warning", message) of all the product says while this is open.
        own_graphs: The product captures CUDA graphs itself.
        notes: What was not done as asked.
    """

    def __init__(
        self,
        file: Path,
        data: bytes,
        *,
        trt: ModuleType,
        device: CudaDevice,
        settings: EngineSettings,
        manifest: Manifest | None,
    ) -> None:
        self.file, self.trt, self.settings = file, trt, settings
        self.lock = threading.Lock()
        self.notes: list[str] = []
        self.own_graphs = False
        self._users = 1
        self._cache = self._config = None
        onnx = weights_of_stripped(file, manifest)
        with ExitStack() as stack:
            self.log = stack.enter_context(collected_log(trt))
            self._runtime = trt.Runtime(trt_logger(trt))
            _set_up_runtime(self._runtime, manifest)
            self._engine = self._runtime.deserialize_cuda_engine(data)
            if self._engine is None:
                raise EngineRunError(_refusal(file, trt, self.log), remedy="build it for this GPU with this version")
            if onnx is not None:
                refit_engine(trt, self._engine, onnx, file=file, log=self.log)
            self._key = CacheKey(engine_sha256=sha256_of_bytes(data), gpu=device.name, product_version=trt.__version__)
            self._configure()
            self._listening = stack.pop_all()

    def acquire(self) -> None:
        """Count one more user."""
        with self.lock:
            self._users += 1

    def release(self) -> None:
        """Count one user less; the last one frees everything, and the runtime cache is written.

        Raises:
            ArtifactError, OSError: The runtime cache can not be written; everything is freed all the same.
        """
        with self.lock:
            self._users -= 1
            if self._users:
                return
        blob = None if self._cache is None else bytes(self._cache.serialize())
        # in this order: a configuration must not outlive its engine, nor an engine its runtime
        del self._config, self._cache, self._engine, self._runtime
        self._listening.close()
        if blob:
            write_runtime_cache(self.settings.runtime_cache, self._key, blob)

    def make_context(self, profile: int, device: CudaDevice) -> Any:
        """An execution context in which that optimization profile is chosen; to be called with `lock` held.

        Raises:
            EngineRunError: There is not enough memory, or the product refuses the profile.
        """
        arguments = () if self._config is None else (self._config,)
        context = self._engine.create_execution_context(*arguments)
        if context is None:
            raise EngineRunError(f"{self.file}: no execution context: {said(self.log)}", remedy="free some GPU memory")
        if profile:  # the first one is chosen already
            if not context.set_optimization_profile_async(profile, device.stream_handle):
                raise EngineRunError(f"{self.file}: optimization profile {profile} is refused: {said(self.log)}")
            device.synchronize()
        return context

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs.

        Raises:
            EngineRunError: One has a type that numpy has not.
        """
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT for name in names}
        return (
            tuple(self._tensor_spec(name) for name in names if is_input[name]),
            tuple(self._tensor_spec(name) for name in names if not is_input[name]),
        )

    def profiles(self, name: str) -> tuple[ShapeProfile, ...]:
        """Shapes of input `name` in each optimization profile; empty where its shape is fixed."""
        if all(size >= 0 for size in self._engine.get_tensor_shape(name)):
            return ()
        shapes = (
            self._engine.get_tensor_profile_shape(name, index)
            for index in range(self._engine.num_optimization_profiles)
        )
        return tuple(ShapeProfile(min=tuple(low), opt=tuple(usual), max=tuple(high)) for low, usual, high in shapes)

    def _tensor_spec(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name)
        try:
            dtype = np.dtype(self.trt.nptype(kind))
        except TypeError as error:  # BF16 and FP8: numpy has no such type
            raise EngineRunError(
                f"{self.file}: {name} is {kind}, which numpy can not hold",
                remedy="to run it from Python, export with --io fp32 or fp16 and build again",
            ) from error
        return TensorSpec(name=name, dtype=dtype.name, shape=tuple(self._engine.get_tensor_shape(name)))

    def _configure(self) -> None:
        """Make the runtime configuration of TensorRT-RTX; TensorRT's has nothing that is to be set."""
        if not hasattr(self._engine, "create_runtime_config"):
            return
        config = self._engine.create_runtime_config()
        if hasattr(config, "cuda_graph_strategy"):
            strategy = self.trt.CudaGraphStrategy
            wanted = strategy.WHOLE_GRAPH_CAPTURE if self.settings.cuda_graphs else strategy.DISABLED
            config.cuda_graph_strategy, self.own_graphs, self._config = wanted, True, config
        if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
            # By default TensorRT-RTX compiles kernels for a shape in the background and changes over when they
            # are ready; what is validated and timed must be what runs afterwards.
            strategy = self.trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy, self._config = strategy.EAGER, config
        if hasattr(config, "create_runtime_cache"):
            self._load_cache(config)
            self._config = config

    def _load_cache(self, config: Any) -> None:
        file = self.settings.runtime_cache
        blob, note = read_runtime_cache(file, self._key)
        if file is not None:
            check_writable(file)
        self._cache = config.create_runtime_cache()
        if blob is not None and not self._cache.deserialize(blob):
            note = f"{self.trt.__name__} refuses the kernels kept from before and compiles them again"
        if note:
            self.notes.append(note)
        config.set_runtime_cache(self._cache)


def said(log: list[tuple[str, str]]) -> str:
    """The last words of the product, errors before warnings."""
    errors = [message for level, message in log if level == "error"]
    return "; ".join((errors or [message for _, message in log])[-3:]) or "no reason given"


def _set_up_runtime(runtime: Any, manifest: Manifest | None) -> None:
    if manifest is None:
        return
    if manifest.details.get("version_compatible") and hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True  # such an engine brings the runtime of its own version, which is code
    core = manifest.options.get("dla_core")
    if core is not None and hasattr(runtime, "DLA_core"):
        runtime.DLA_core = core


def _refusal(file: Path, trt: ModuleType, log: list[tuple[str, str]]) -> str:
    header = read_engine_header(file)
    here = ", ".join(f"{gpu.name} (sm{gpu.compute_capability.replace('.', '')})" for gpu in query_cuda_driver().gpus)
    built = f"{header.product} {header.version}" + (f" for {' '.join(header.targets)}" if header.targets else "")
    return (
        f"{file} can not be loaded by {trt.__name__} {trt.__version__} on {here or 'this machine'}; "
        f"it was built by {built}: {said(log)}"
    )
