"""What every backend offers, so that parity, accuracy and benchmark code never knows which one it has."""

from __future__ import annotations

__all__ = ["Runner", "RunnerInfo", "ShapeProfile", "logits_of"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeProfile:
    """One optimization profile: shapes of the one image input, smallest, usual and largest, e.g. (8, 3, 224, 224)."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerInfo:
    """What is running, and where.

    Attributes:
        backend: One of `engine.open.BACKENDS`.
        version: Of the backend.
        device: "cpu", or the GPU's name.
        file: The file that was opened.
        max_batch: Largest N of one pass; None where there is no limit. `run` takes more, and makes several passes.
        note: What ran in place of the file's own arithmetic, or of what was asked for; empty where nothing did.
        profiles: Optimization profiles of an engine, in its own order; empty where any shape runs.
        cuda_graphs: Whether passes are replayed as CUDA graphs; `note` says where that was wanted and failed.
    """

    backend: str
    version: str
    device: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int | None = None
    note: str = ""
    profiles: tuple[ShapeProfile, ...] = ()
    cuda_graphs: bool = False

    @property
    def min_batch(self) -> int:
        """Smallest N of one pass; `run` fills up fewer images to that many."""
        return self.fixed_batch or min((profile.min[0] for profile in self.profiles), default=1)

    @property
    def fixed_batch(self) -> int | None:
        """The one N of a pass, as some exporters write it into a network; None where it takes any."""
        first = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        return first if isinstance(first, int) and first > 0 else None


class Runner(Protocol):
    """A network that is loaded and ready; use it as a context manager.

    One runner, one thread: nothing in it is locked. `fork` gives another thread its own runner over the same network.
    """

    info: RunnerInfo

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs for any number of images: host arrays in, host arrays out, by tensor name.

        More rows than one pass takes are split over several; fewer than it needs are filled up with the last row,
        and the filling is cut off again.

        Raises:
            EngineRunError: A name, type or shape does not fit, or the backend failed.
        """

    def timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        """Seconds of each of `iterations` passes, [iterations] float64; input and output stay where the backend computes.

        Each is one pass of exactly what is given, neither split nor filled up.

        Raises:
            EngineRunError: As `run`, and for a batch that is not one pass.
        """

    def fork(self) -> Self:
        """Another runner over the same loaded network, for another thread; to be closed on its own, in any order."""

    def close(self) -> None:
        """Free what the backend holds; the runner can not be used after that."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def logits_of(runner: Runner, images: np.ndarray) -> np.ndarray:
    """Run a classifier: images [N, C, H, W] float32 -> logits [N, K] float32, any N.

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
    logits = runner.run({info.inputs[0].name: images})[info.outputs[0].name].astype(np.float32, copy=False)
    if logits.ndim != 2:
        raise EngineRunError(f"{info.file}: output {info.outputs[0].name} is {logits.shape}, expected [N, classes]")
    return logits
