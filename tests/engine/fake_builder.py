"""The building half of the stand-in for NVIDIA's `tensorrt` 10.x: it records what it is asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

CACHE_OF_ANOTHER_GPU = b"another GPU"
_FLAGS = ("TF32", "STRIP_PLAN", "REFIT", "REFIT_IDENTICAL", "VERSION_COMPATIBLE", "GPU_FALLBACK")


def fake_building(calls: list[tuple], logger_class: Any, plan: bytes) -> dict[str, Any]:
    """Members of the module that build; every call is added to `calls`."""

    class Profile:
        def set_shape(self, name: str, *shapes: tuple) -> None:
            calls.append(("profile", name, shapes))

    class Cache:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def serialize(self) -> bytes:
            return self.data + b"times"

    class Config:
        builder_optimization_level = 3
        progress_monitor = None
        cache = None

        def __setattr__(self, name: str, value: Any) -> None:
            calls.append(("set", name, value))
            object.__setattr__(self, name, value)

        def clear_flag(self, flag: str) -> None:
            calls.append(("clear", flag))

        def set_flag(self, flag: str) -> None:
            calls.append(("flag", flag))

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            calls.append(("pool", pool, size))

        def add_optimization_profile(self, profile: Profile) -> None:
            calls.append(("add profile",))

        def create_timing_cache(self, data: bytes) -> Cache:
            calls.append(("timing cache", data))
            return Cache(data)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            self.cache = cache
            return cache.data != CACHE_OF_ANOTHER_GPU

        def get_timing_cache(self) -> Cache:
            return self.cache

    Config.profiling_verbosity = "layer names"

    class Builder:
        num_DLA_cores = 1

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
            self.logger.log(logger_class.Severity.INFO, "Engine generation completed")
            self.logger.log(logger_class.Severity.VERBOSE, "chatter")
            return plan

    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def set_flag(self, flag: str) -> None:
            calls.append(("parser flag", flag))

        def parse_from_file(self, path: str) -> bool:
            return True

    return {
        "Builder": Builder,
        "OnnxParser": OnnxParser,
        "OnnxParserFlag": SimpleNamespace(ADJUST_FOR_DLA="adjust for DLA"),
        "BuilderFlag": SimpleNamespace(
            **{name: name for name in _FLAGS}, ERROR_ON_TIMING_CACHE_MISS="error on timing cache miss"
        ),
        "HardwareCompatibilityLevel": SimpleNamespace(NONE="none", AMPERE_PLUS="ampere plus"),
        "MemoryPoolType": SimpleNamespace(WORKSPACE="workspace"),
        "ProfilingVerbosity": SimpleNamespace(DETAILED="detailed"),
        "DeviceType": SimpleNamespace(DLA="DLA"),
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1, EXPLICIT_BATCH=0),
    }
