"""The numbers of a Triton model repository that its user sets."""

from __future__ import annotations

__all__ = ["ServedDevice", "ServedRuntime", "TritonOptions"]

from dataclasses import dataclass
from enum import Enum

from resnet_deploy.core.errors import ConfigError


class ServedRuntime(str, Enum):
    """Which files of a bundle are served: TensorRT plans, or the ONNX file. AUTO: plans where there are any."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"

    def __str__(self) -> str:
        return self.value


class ServedDevice(str, Enum):
    """Where the ONNX file runs; AUTO: on a GPU where the server has one. A plan runs on a GPU."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonOptions:
    """How a bundle is served; docs/guides/triton.md says how to find each number.

    Attributes:
        runtime: Which files of the bundle.
        max_batch: Largest batch of a pass; a plan's own limit lowers it.
        max_delay_us: A request waits no longer than this for others to fill a batch.
        preferred_batches: Batch sizes that are sent at once when they can be formed. For plans with a profile for each
            of them; else none.
        instances: Copies of the network on the processor, or on each GPU, that run at the same time.
        device: Where the ONNX file runs.
        max_queue: Requests that may wait; more are refused. 0: any number.
        queue_timeout_us: A request that has waited longer is refused; a request may ask for less. 0: never, whatever
            it asks, as Triton takes the smaller of the two.
        preprocess_instances: Copies of the preprocessing graph, one processor thread each.
        num_profiles: Optimization profiles of the plans; Triton uses the first only unless it is told of the others.
        cuda_graphs: Capture passes of a plan; for networks that take preprocessed images.
        tensorrt_provider: Run the ONNX file through ONNX Runtime's TensorRT provider; it builds an engine at the first
            start and keeps it in `engine_cache`, a folder of the server.
        version: Number of the version that is written.
    """

    runtime: ServedRuntime = ServedRuntime.AUTO
    max_batch: int = 32
    max_delay_us: int = 2000
    preferred_batches: tuple[int, ...] = ()
    instances: int = 1
    device: ServedDevice = ServedDevice.AUTO
    max_queue: int = 1024
    queue_timeout_us: int = 10_000_000
    preprocess_instances: int = 2
    num_profiles: int = 1
    cuda_graphs: bool = False
    tensorrt_provider: bool = False
    engine_cache: str = "/tmp/resnet-deploy-engines"
    version: int = 1

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, expected {low} or more"
            for name, low in _LOWEST.items()
            if getattr(self, name) < low
        ]
        if self.preferred_batches != tuple(sorted({size for size in self.preferred_batches if size >= 1})):
            problems.append(f"preferred_batches {self.preferred_batches} are not rising sizes from 1")
        if self.preferred_batches and self.preferred_batches[-1] > self.max_batch:
            problems.append(f"preferred batch {self.preferred_batches[-1]} is over max_batch {self.max_batch}")
        if self.tensorrt_provider and self.device is ServedDevice.CPU:
            problems.append("tensorrt_provider needs a GPU, device is cpu")
        if problems:
            raise ConfigError("triton: " + "; ".join(problems))


_LOWEST = {
    "max_batch": 1,
    "max_delay_us": 0,
    "instances": 1,
    "max_queue": 0,
    "queue_timeout_us": 0,
    "preprocess_instances": 1,
    "num_profiles": 1,
    "version": 1,
}
