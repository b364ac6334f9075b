"""Memory, a stream and a clock on the first GPU, by way of PyTorch, so that a runner needs no CUDA bindings."""

from __future__ import annotations

__all__ = ["CudaDevice", "open_cuda_device"]

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.cuda_driver import query_cuda_driver


class CudaDevice:
    """The first GPU and one stream on it.

    Attributes:
        name: The GPU's.
        stream_handle: cudaStream_t as an integer.
    """

    def __init__(self) -> None:
        self._device = torch.device("cuda", 0)
        self._stream = torch.cuda.Stream(self._device)
        self.name: str = torch.cuda.get_device_name(self._device)
        self.stream_handle: int = self._stream.cuda_stream

    def upload(self, array: np.ndarray) -> torch.Tensor:
        """A copy of a host array; complete when this returns."""
        tensor = torch.tensor(np.ascontiguousarray(array), device=self._device)
        torch.cuda.synchronize(self._device)
        return tensor

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
        """Uninitialised memory."""
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=self._device)

    def download(self, tensor: Any) -> np.ndarray:
        """Wait for the stream, then copy to the host."""
        self._stream.synchronize()
        return tensor.cpu().numpy()

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
