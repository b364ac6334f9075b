"""Memory, a stream, graphs and a clock on the first GPU, by way of PyTorch, so that a runner needs no CUDA bindings.

This is all of a runner that only a GPU can run: `tests/engine/fake_trt.py` has a stand-in with the same methods.
"""

from __future__ import annotations

__all__ = ["CudaBuffer", "CudaDevice", "open_cuda_device"]

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from resnet_deploy.core.errors import EngineRunError, MissingDependencyError
from resnet_deploy.engine.cuda_driver import query_cuda_driver


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CudaBuffer:
    """One tensor on the GPU and its page-locked twin on the host.

    Attributes:
        host: The twin as an array; what `to_device` copies from and `to_host` copies to.
        address: Of the tensor on the GPU.
    """

    host: np.ndarray
    address: int
    device_tensor: torch.Tensor
    host_tensor: torch.Tensor


class CudaDevice:
    """The first GPU and one stream on it, not the default one. For one thread; `fork` gives another thread its own.

    Attributes:
        name: The GPU's.
        stream_handle: cudaStream_t as an integer.
    """

    def __init__(self) -> None:
        self._device = torch.device("cuda", 0)
        self._stream = torch.cuda.Stream(self._device)
        self._on_stream = torch.cuda.stream(self._stream)  # entered once for each copy, never inside itself
        self.name: str = torch.cuda.get_device_name(self._device)
        self.stream_handle: int = self._stream.cuda_stream

    def fork(self) -> CudaDevice:
        """The same GPU with a stream of its own."""
        return CudaDevice()

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> CudaBuffer:
        """Uninitialised memory, here and there.

        Raises:
            EngineRunError: There is not enough of it.
        """
        kind = getattr(torch, dtype.name)
        try:
            # made on the stream it is used on: PyTorch then gives it to nobody else while that stream still runs
            with self._on_stream:
                on_device = torch.empty(shape, dtype=kind, device=self._device)
            on_host = torch.empty(shape, dtype=kind, pin_memory=True)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise EngineRunError(
                f"no memory on {self.name} for {dtype.name} {list(shape)}: {str(error).splitlines()[0]}",
                remedy="give smaller batches, or end what else uses the GPU",
            ) from error
        return CudaBuffer(
            host=on_host.numpy(), address=on_device.data_ptr(), device_tensor=on_device, host_tensor=on_host
        )

    def to_device(self, buffer: CudaBuffer) -> None:
        """Begin to copy the host's twin to the GPU."""
        with self._on_stream:
            buffer.device_tensor.copy_(buffer.host_tensor, non_blocking=True)

    def to_host(self, buffer: CudaBuffer) -> None:
        """Begin to copy the tensor to its twin; `synchronize` before reading that."""
        with self._on_stream:
            buffer.host_tensor.copy_(buffer.device_tensor, non_blocking=True)

    def synchronize(self) -> None:
        """Wait for the stream; raises RuntimeError where anything on it failed."""
        self._stream.synchronize()

    def capture(self, enqueue: Callable[[], bool]) -> torch.cuda.CUDAGraph:
        """Record what `enqueue` puts on the stream as a CUDA graph, without running it.

        Args:
            enqueue: Gives False where it failed.
        Raises:
            RuntimeError: It can not be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads allocate meanwhile does not spoil it
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            done = enqueue()
        if not done:
            raise RuntimeError("the engine refused to be captured")
        return graph

    def replay(self, graph: torch.cuda.CUDAGraph) -> None:
        """Begin to run a captured graph."""
        with self._on_stream:
            graph.replay()

    def time_passes(self, one_pass: Callable[[], None], iterations: int) -> np.ndarray:
        """Seconds between the ends of consecutive passes on the stream, by CUDA events: [iterations] float64."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(iterations + 1)]
        self._stream.synchronize()
        events[0].record(self._stream)
        for event in events[1:]:
            one_pass()
            event.record(self._stream)
        self._stream.synchronize()
        return np.array([first.elapsed_time(last) for first, last in itertools.pairwise(events)]) / 1e3


def open_cuda_device(purpose: str) -> CudaDevice:
    """The first GPU.

    Args:
        purpose: What needs it, for the message, e.g. "running out/resnet20.engine".
    Raises:
        MissingDependencyError: No driver, no GPU, or a PyTorch without CUDA.
    """
    driver = query_cuda_driver()
    if not driver.gpus:
        raise MissingDependencyError(
            f"{purpose} needs a GPU: {driver.reason}",
            remedy="run it where there is one; the same network runs here from its ONNX file in onnxruntime",
        )
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"{purpose} keeps its buffers in PyTorch, and PyTorch {torch.__version__} can not use "
            f"{driver.gpus[0].name} (driver for CUDA {driver.version})",
            remedy="install a CUDA build of PyTorch that fits the driver",
        )
    return CudaDevice()
