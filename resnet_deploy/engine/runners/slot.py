"""One input shape of one engine, made ready: a context, memory for its tensors, and a CUDA graph once captured.

A pass of a known shape then allocates nothing on the GPU, binds nothing and asks nothing.
"""

from __future__ import annotations

__all__ = ["Slot"]

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.runners.cuda_device import CudaBuffer, CudaDevice
from resnet_deploy.engine.runners.loaded_engine import LoadedEngine, said

_UNLIKELY_BYTE = 0x5A


class Slot:
    """An execution context of its own (captured graphs of one context spoil each other: NVIDIA/TensorRT#3798)."""

    def __init__(
        self,
        engine: LoadedEngine,
        device: CudaDevice,
        *,
        profile: int,
        shapes: Mapping[str, tuple[int, ...]],
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        """Args:
        shapes: Of every input, by name; inside `profile`.

        Raises:
            EngineRunError: No memory, or the engine refuses a shape or an address.
        """
        self._engine, self._device, self._stream = engine, device, device.stream_handle
        self._graph = None
        self._context = engine.make_context(profile, device)
        for spec in inputs:
            if not self._context.set_input_shape(spec.name, shapes[spec.name]):
                raise EngineRunError(
                    f"{engine.file}: input {spec.name} can not be {list(shapes[spec.name])}: {said(engine.log)}",
                    remedy="give a size inside a profile (`resnet-deploy inspect` lists them), or build with another",
                )
        self._inputs = [(spec.name, device.allocate(shapes[spec.name], np.dtype(spec.dtype))) for spec in inputs]
        self._outputs = [(spec.name, device.allocate(self._shape(spec), np.dtype(spec.dtype))) for spec in outputs]
        for name, buffer in (*self._inputs, *self._outputs):
            self._bind(name, buffer)

    @property
    def is_captured(self) -> bool:
        return self._graph is not None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One pass: through page-locked memory to the GPU and back; the results are the caller's."""
        device = self._device
        try:
            for name, buffer in self._inputs:
                np.copyto(buffer.host, feeds[name])
                device.to_device(buffer)
            self._launch()
            for _, buffer in self._outputs:
                device.to_host(buffer)
            device.synchronize()
        except RuntimeError as error:
            raise self._failure(error) from error
        return {name: buffer.host.copy() for name, buffer in self._outputs}

    def time(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        """Seconds of each pass, [iterations] float64; the tensors stay on the GPU."""
        try:
            for name, buffer in self._inputs:
                np.copyto(buffer.host, feeds[name])
                self._device.to_device(buffer)
            return self._device.time_passes(self._launch, iterations)
        except RuntimeError as error:
            raise self._failure(error) from error

    def capture(self) -> None:
        """Make a CUDA graph of the pass; every later one replays it.

        The pass is launched once before: what the product sets up at its first run can not be captured. What it gives
        for a black image is what the graph must give too: one that missed a kernel would be silently wrong.

        Raises:
            RuntimeError: It can not be captured; the slot must not be used any more.
            EngineRunError: The pass itself fails.
        """
        for _, buffer in self._inputs:
            buffer.host.fill(0)
            self._device.to_device(buffer)
        wanted = self._outputs_after_launch()
        self._graph = self._device.capture(self._enqueue)
        if self._outputs_after_launch() != wanted:
            raise RuntimeError("a captured pass gives other numbers than a launched one")

    def _outputs_after_launch(self) -> list[bytes]:
        """The bytes of every output of a pass, which are overwritten before it so that none can be left from another."""
        for _, buffer in self._outputs:
            buffer.host.reshape(-1).view(np.uint8).fill(_UNLIKELY_BYTE)
            self._device.to_device(buffer)
        self._launch()
        for _, buffer in self._outputs:
            self._device.to_host(buffer)
        self._device.synchronize()
        return [buffer.host.tobytes() for _, buffer in self._outputs]

    def release(self) -> None:
        """Wait for the stream, then free the graph, the context and the memory, in this order."""
        with suppress(RuntimeError):  # every pass waits for its end: a stream that fails here has failed there
            self._device.synchronize()
        self._graph = None
        self._context = None
        self._inputs, self._outputs = [], []

    def _launch(self) -> None:
        if self._graph is not None:
            self._device.replay(self._graph)
        elif not self._context.execute_async_v3(self._stream):
            raise EngineRunError(f"{self._engine.file}: the engine failed to run: {said(self._engine.log)}")

    def _enqueue(self) -> bool:
        return self._context.execute_async_v3(self._stream)

    def _shape(self, spec: TensorSpec) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(spec.name))
        if any(size < 0 for size in shape):
            raise EngineRunError(
                f"{self._engine.file}: the size of output {spec.name}, {list(shape)}, depends on the values of the input",
                remedy="run a network whose outputs have a size that its input size decides",
            )
        return shape

    def _bind(self, name: str, buffer: CudaBuffer) -> None:
        if not self._context.set_tensor_address(name, buffer.address):
            raise EngineRunError(f"{self._engine.file}: no memory could be bound to {name}: {said(self._engine.log)}")

    def _failure(self, error: RuntimeError) -> EngineRunError:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return EngineRunError(f"{self._engine.file}: the GPU failed: {first}")
