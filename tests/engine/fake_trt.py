"""A stand-in for NVIDIA's `tensorrt` 10.x that records the order of calls; for what can not run without a GPU.

Its "engine" adds 1 to its input. It has the common API only: no compute capabilities, no runtime configuration.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu

GPU = Gpu(name="Fake GPU", compute_capability="9.0", memory_bytes=1 << 30)
DRIVER = CudaDriver(version="13.0", gpus=(GPU,), reason="")
PLAN = b"ftrt" + bytes(20) + bytes((10, 16, 1, 11)) + bytes(100)


class FakeDevice:
    """Host memory that plays the GPU's; an address is the index of a buffer."""

    name = "Fake GPU"
    stream_handle = 77

    def __init__(self) -> None:
        self.buffers: list[np.ndarray] = []

    def upload(self, array: np.ndarray) -> Any:
        return self._keep(array.copy())

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        return self._keep(np.full(shape, -7, dtype))

    def download(self, buffer: Any) -> np.ndarray:
        return buffer.array.copy()

    def time_passes(self, one_pass: Any, iterations: int) -> np.ndarray:
        for _ in range(iterations):
            one_pass()
        return np.full(iterations, 1e-3)

    def _keep(self, array: np.ndarray) -> Any:
        self.buffers.append(array)
        address = len(self.buffers) - 1
        return SimpleNamespace(array=array, data_ptr=lambda: address)


def fake_tensorrt(device: FakeDevice | None = None, **faults: bool) -> Any:
    """A module-like object.

    Args:
        faults: "deserialize", "context", "shape", "address" or "execute": that call fails as TensorRT does,
            with a log line and None or False.
    """
    calls: list[tuple] = []

    class ILogger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def fails(what: str, logger: Any) -> bool:
        calls.append((what,))
        if faults.get(what):
            logger.log(ILogger.Severity.ERROR, f"{what} went wrong")
        return bool(faults.get(what))

    class Context:
        def __init__(self, logger: Any) -> None:
            self.logger, self.shapes, self.addresses = logger, {}, {}

        def set_input_shape(self, name: str, shape: tuple) -> bool:
            self.shapes[name] = shape
            return not fails("shape", self.logger)

        def get_tensor_shape(self, name: str) -> tuple:
            return self.shapes["images"]

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return not fails("address", self.logger)

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == FakeDevice.stream_handle
            if fails("execute", self.logger):
                return False
            device.buffers[self.addresses["logits"]][...] = device.buffers[self.addresses["images"]] + 1
            return True

    class Engine:
        num_io_tensors = 2

        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def get_tensor_name(self, index: int) -> str:
            return ("images", "logits")[index]

        def get_tensor_mode(self, name: str) -> str:
            return "in" if name == "images" else "out"

        def get_tensor_dtype(self, name: str) -> str:
            return "FLOAT"

        def get_tensor_shape(self, name: str) -> tuple:
            return (-1, 4)

        def get_tensor_profile_shape(self, name: str, profile: int) -> list:
            return [(1, 4), (2, 4), (3, 4)]

        def create_execution_context(self) -> Context | None:
            return None if fails("context", self.logger) else Context(self.logger)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            return None if fails("deserialize", self.logger) else Engine(self.logger)

    return SimpleNamespace(
        __name__=f"tensorrt_{id(calls)}",  # the logger is kept per module name
        __version__="10.16.1.11",
        calls=calls,
        ILogger=ILogger,
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        nptype=lambda _: np.float32,
        Runtime=Runtime,
        **_building(calls, ILogger),
    )


def _building(calls: list[tuple], logger_class: Any) -> dict[str, Any]:
    class Profile:
        def set_shape(self, name: str, *shapes: tuple) -> None:
            calls.append(("profile", name, shapes))

    class Cache:
        def serialize(self) -> bytes:
            return b"times"

    class Config:
        builder_optimization_level = 3
        progress_monitor = None

        def clear_flag(self, flag: str) -> None:
            calls.append(("clear", flag))

        def add_optimization_profile(self, profile: Profile) -> None:
            calls.append(("add profile",))

        def create_timing_cache(self, data: bytes) -> Cache:
            calls.append(("timing cache", data))
            return Cache()

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> None:
            assert ignore_mismatch is False

        def get_timing_cache(self) -> Cache:
            return Cache()

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            calls.append(("network", flags))
            return SimpleNamespace(num_layers=5)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Config) -> bytes:
            calls.append(("build", config.builder_optimization_level))
            for text in ("a warning", "a warning", "another"):
                self.logger.log(logger_class.Severity.WARNING, text)
            self.logger.log(logger_class.Severity.INFO, "chatter")
            return PLAN

    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse_from_file(self, path: str) -> bool:
            return True

    return {
        "Builder": Builder,
        "OnnxParser": OnnxParser,
        "BuilderFlag": SimpleNamespace(TF32="TF32"),
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1, EXPLICIT_BATCH=0),
    }
