"""A stand-in for NVIDIA's `tensorrt` and `tensorrt_rtx`: records the order of calls, for what can not run without a GPU.

Its "engine" adds 1 to its input; one without weights gives NaN until it is refitted. `tensorrt` has the common API
only, as 10.13 and 11.x have it: a runtime configuration without graphs, strategies or caches.
"""

from __future__ import annotations

import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np

from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu
from tests.engine.fake_builder import fake_building

GPU = Gpu(name="Fake GPU", compute_capability="9.0", memory_bytes=1 << 30)
DRIVER = CudaDriver(version="13.0", gpus=(GPU,), reason="")
PLAN = b"ftrt" + bytes(20) + bytes((10, 16, 1, 11)) + bytes(100)
STRIPPED = PLAN + b"stripped"
STREAMS: dict[int, Any] = {}
"""cudaStream_t -> the FakeDevice it belongs to."""

ONE_PROFILE = (((1, 4), (2, 4), (3, 4)),)


def fake_tensorrt(
    device: Any = None,
    *,
    rtx: bool = False,
    io_shape: tuple[int, ...] = (-1, 4),
    profiles: tuple[tuple[tuple[int, ...], ...], ...] = ONE_PROFILE,
    **faults: bool,
) -> Any:
    """A module-like object.

    Args:
        device: Whose list of calls is written to.
        rtx: Give it what only TensorRT-RTX has.
        io_shape: Of the input and the output; -1 where `profiles` say it.
        faults: "deserialize", "context", "profile", "shape", "address", "execute", "parse", "refit" or "cache": that
            call fails as TensorRT does, with a log line and None or False.
    """
    calls: list[tuple] = [] if device is None else device.calls

    class ILogger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def fails(what: str, logger: Any, *details: Any) -> bool:
        calls.append((what, *details))
        if faults.get(what):
            logger.log(ILogger.Severity.ERROR, f"{what} went wrong")
        return bool(faults.get(what))

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.logger = engine, engine.logger
            self.profile, self.shapes, self.addresses, self.threads = 0, {}, {}, set()
            weakref.finalize(self, calls.append, ("free context",))

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            assert stream in STREAMS
            self.profile = index
            return not fails("profile", self.logger, index)

        def set_input_shape(self, name: str, wanted: tuple) -> bool:
            self.shapes[name] = wanted
            low, _, high = profiles[self.profile] if -1 in io_shape else (io_shape,) * 3
            outside = not all(a <= b <= c for a, b, c in zip(low, wanted, high, strict=True))
            if outside:
                self.logger.log(ILogger.Severity.ERROR, "the shape is outside the profile")
            return not fails("shape", self.logger) and not outside

        def get_tensor_shape(self, name: str) -> tuple:
            return self.shapes["images"]

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return not fails("address", self.logger)

        def execute_async_v3(self, stream: int) -> bool:
            self.threads.add(threading.get_ident())
            assert len(self.threads) == 1, "a context is for one thread"
            if fails("execute", self.logger):
                return False
            memory = STREAMS[stream].memory
            image, logits = memory[self.addresses["images"]], memory[self.addresses["logits"]]
            assert image.device_array.shape == self.shapes["images"]
            engine = self.engine
            STREAMS[stream].enqueue(
                lambda: np.copyto(logits.device_array, image.device_array + np.float32(engine.bias))
            )
            return True

    class Engine:
        num_io_tensors = 2
        num_optimization_profiles = len(profiles)

        def __init__(self, logger: Any, bias: float) -> None:
            self.logger, self.bias, self.contexts = logger, bias, []
            weakref.finalize(self, calls.append, ("free engine",))

        def get_tensor_name(self, index: int) -> str:
            return ("images", "logits")[index]

        def get_tensor_mode(self, name: str) -> str:
            return "in" if name == "images" else "out"

        def get_tensor_dtype(self, name: str) -> str:
            return "FLOAT"

        def get_tensor_shape(self, name: str) -> tuple:
            return io_shape

        def get_tensor_profile_shape(self, name: str, profile: int) -> list:
            return list(profiles[profile])

        def create_runtime_config(self) -> Any:
            return RtxConfig() if rtx else SimpleNamespace(set_execution_context_allocation_strategy=None)

        def create_execution_context(self, config: Any = None) -> Context | None:
            assert (config is not None) == rtx
            if rtx:
                calls.append(("strategies", config.cuda_graph_strategy, config.strategy))
                config.cache.compiled += 1
            return None if fails("context", self.logger) else Context(self)

    class Runtime:
        DLA_core = -1
        engine_host_code_allowed = False

        def __init__(self, logger: Any) -> None:
            self.logger = logger
            weakref.finalize(self, calls.append, ("free runtime",))

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            calls.append(("runtime settings", self.DLA_core, self.engine_host_code_allowed))
            bias = np.nan if data == STRIPPED else 1
            return None if fails("deserialize", self.logger) else Engine(self.logger, bias)

    class Cache:
        compiled = 0

        def deserialize(self, blob: bytes) -> bool:
            calls.append(("cache read", blob))
            return not faults.get("cache")

        def serialize(self) -> bytes:
            return f"kernels of {self.compiled} contexts".encode()

    class RtxConfig:
        cuda_graph_strategy = "DISABLED"
        cache: Cache | None = None

        @property
        def dynamic_shapes_kernel_specialization_strategy(self) -> str:
            return "LAZY"

        @dynamic_shapes_kernel_specialization_strategy.setter
        def dynamic_shapes_kernel_specialization_strategy(self, value: str) -> None:
            self.strategy = value

        def create_runtime_cache(self) -> Cache:
            return Cache()

        def set_runtime_cache(self, cache: Cache) -> None:
            self.cache = cache

    class Refitter:
        def __init__(self, engine: Engine, logger: Any) -> None:
            self.engine, self.logger, self.bias = engine, logger, None

        def refit_cuda_engine(self) -> bool:
            if fails("refit", self.logger):
                return False
            self.engine.bias = self.bias
            return True

        def get_missing_weights(self) -> list[str]:
            return [] if self.bias else ["conv1.weight", "fc.weight"]

    class OnnxParserRefitter:
        num_errors = 0

        def __init__(self, refitter: Refitter, logger: Any) -> None:
            self.refitter, self.logger = refitter, logger

        def refit_from_bytes(self, model: bytes) -> bool:
            if fails("parse", self.logger, model):
                return False
            self.refitter.bias = 1
            return True

    rtx_only = {
        "CudaGraphStrategy": SimpleNamespace(DISABLED="DISABLED", WHOLE_GRAPH_CAPTURE="WHOLE_GRAPH_CAPTURE"),
        "DynamicShapesKernelSpecializationStrategy": SimpleNamespace(EAGER="EAGER", LAZY="LAZY"),
    }
    return SimpleNamespace(
        __name__=f"tensorrt_{id(calls)}_{id(fails)}",  # the logger is kept per module name
        __version__="1.7.1.116" if rtx else "10.16.1.11",
        calls=calls,
        ILogger=ILogger,
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        nptype=lambda _: np.float32,
        Runtime=Runtime,
        Refitter=Refitter,
        OnnxParserRefitter=OnnxParserRefitter,
        **(rtx_only if rtx else {}),
        **fake_building(calls, ILogger, PLAN),
    )
