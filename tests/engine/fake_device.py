"""A stand-in for `engine.runners.cuda_device.CudaDevice`: what it puts on its stream happens at `synchronize`, not before.

So a result that is read too early, or memory that is written while the stream still needs it, gives wrong numbers.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.engine.fake_trt import STREAMS

_addresses = itertools.count(1000)


@dataclass(eq=False)
class FakeBuffer:
    host: np.ndarray
    address: int
    device_array: np.ndarray


class FakeDevice:
    """Host memory that plays the GPU's.

    Args:
        faults: "allocate", "capture" or "synchronize": raises there, as PyTorch does. "empty graph": what is captured
            does nothing when it is replayed.
        origin: The device this one is a fork of; calls and memory are common.
    """

    name = "Fake GPU"

    def __init__(self, *faults: str, origin: FakeDevice | None = None) -> None:
        self.faults = set(faults)
        self.calls: list[tuple] = origin.calls if origin else []
        self.memory: weakref.WeakValueDictionary[int, FakeBuffer] = (
            origin.memory if origin else weakref.WeakValueDictionary()
        )
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self.stream_handle = next(_addresses)
        STREAMS[self.stream_handle] = self

    def fork(self) -> FakeDevice:
        return FakeDevice(*self.faults, origin=self)

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> FakeBuffer:
        from resnet_deploy.core.errors import EngineRunError

        self.calls.append(("allocate", shape))
        if "allocate" in self.faults:
            raise EngineRunError(f"no memory on {self.name} for {list(shape)}")
        arrays = np.full(shape, -5, dtype), np.full(shape, -7, dtype)
        buffer = FakeBuffer(host=arrays[0], address=next(_addresses), device_array=arrays[1])
        self.memory[buffer.address] = buffer
        weakref.finalize(buffer, self.calls.append, ("free buffer",))
        return buffer

    def to_device(self, buffer: FakeBuffer) -> None:
        self.calls.append(("to device",))
        self._queue.append(lambda: np.copyto(buffer.device_array, buffer.host))

    def to_host(self, buffer: FakeBuffer) -> None:
        self.calls.append(("to host",))
        self._queue.append(lambda: np.copyto(buffer.host, buffer.device_array))

    def enqueue(self, kernel: Callable[[], None]) -> None:
        """What a context puts on this stream."""
        (self._queue if self._recording is None else self._recording).append(kernel)

    def synchronize(self) -> None:
        self.calls.append(("synchronize",))
        queue, self._queue = self._queue, []
        for work in queue:
            work()
        if queue and "synchronize" in self.faults:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA")

    def capture(self, enqueue: Callable[[], bool]) -> FakeGraph:
        assert not self._queue, "a graph is captured from a stream at rest"
        self._recording = []
        done, recorded = enqueue(), self._recording
        self._recording = None
        self.calls.append(("capture",))
        if "capture" in self.faults or not done:
            raise RuntimeError("operation not permitted when stream is capturing")
        return FakeGraph([] if "empty graph" in self.faults else recorded, self.calls)

    def replay(self, graph: FakeGraph) -> None:
        self.calls.append(("replay",))
        self._queue.extend(graph.recorded)

    def time_passes(self, one_pass: Callable[[], None], iterations: int) -> np.ndarray:
        for _ in range(iterations):
            one_pass()
        self.synchronize()
        return np.full(iterations, 1e-3)


class FakeGraph:
    def __init__(self, recorded: list[Callable[[], None]], calls: list[tuple]) -> None:
        self.recorded = recorded
        weakref.finalize(self, calls.append, ("free graph",))
