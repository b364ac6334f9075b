"""What every backend offers, so that parity, accuracy and benchmark code never knows which one it has."""

from __future__ import annotations

__all__ = ["Runner", "RunnerInfo", "logits_of"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerInfo:
    """What is running, and where.

    Attributes:
        backend: "torch", "onnxruntime", "openvino", "tensorrt" or "tensorrt-rtx".
        version: Of the backend.
        device: "cpu", or the GPU's name.
        file: The file that was opened.
        max_batch: Largest N that one call takes; None where there is no limit.
        note: What ran in place of the file's own arithmetic; empty where that itself ran.
    """

    backend: str
    version: str
    device: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int | None = None
    note: str = ""

    @property
    def fixed_batch(self) -> int | None:
        """The one N that the network takes, as some exporters write it; None where it takes any."""
        first = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return first if isinstance(first, int) and first > 0 else None


class Runner(Protocol):
    """A network that is loaded and ready; use it as a context manager, from one thread at a time."""

    info: RunnerInfo

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One forward pass: host arrays in, host arrays out, by tensor name.

        Raises:
            EngineRunError: A name, type or shape does not fit, or the backend failed.
        """

    def timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        """Seconds of each of `iterations` passes, [iterations] float64; input and output stay where the backend computes."""

    def close(self) -> None:
        """Free what the backend holds; the runner can not be used after that."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def logits_of(runner: Runner, images: np.ndarray) -> np.ndarray:
    """Run a classifier: images [N, C, H, W] float32 -> logits [N, K] float32; splits over `max_batch`.

    A network that takes one N alone is given so many at a time, the last ones filled up with the last image.
    Images are cast to the type of the network's input; logits that come out as FP16 are widened.

    Raises:
        EngineRunError: The network has not exactly one input and one output of rank 2.
    """
    info = runner.info
    if len(info.inputs) != 1 or len(info.outputs) != 1:
        raise EngineRunError(
            f"{info.file} has {len(info.inputs)} inputs and {len(info.outputs)} outputs, a classifier has one of each"
        )
    images = images.astype(info.inputs[0].dtype, copy=False)
    step = info.fixed_batch or info.max_batch or len(images)
    count = len(images)
    if info.fixed_batch and count % step:
        images = np.concatenate([images, np.repeat(images[-1:], step - count % step, axis=0)])
    parts = [
        runner.run({info.inputs[0].name: images[start : start + step]})[info.outputs[0].name]
        for start in range(0, len(images), step)
    ]
    logits = np.concatenate(parts)[:count].astype(np.float32, copy=False)
    if logits.ndim != 2:
        raise EngineRunError(f"{info.file}: output {info.outputs[0].name} is {logits.shape}, expected [N, classes]")
    return logits
