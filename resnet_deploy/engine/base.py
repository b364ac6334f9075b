"""What all runners share: the check of what goes in, and the order open, run, close."""

from __future__ import annotations

__all__ = ["BaseRunner", "check_feeds"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo

if TYPE_CHECKING:
    from typing_extensions import Self


def check_feeds(info: RunnerInfo, feeds: Mapping[str, np.ndarray]) -> None:
    """Compare host arrays with the inputs of a network.

    Raises:
        EngineRunError: A name is missing or unknown, or a type, rank, size or batch does not fit; says which.
    """
    expected = {spec.name: spec for spec in info.inputs}
    if set(feeds) != set(expected):
        raise EngineRunError(
            f"{info.file}: got inputs {sorted(feeds)}, expected {sorted(expected)}",
            remedy="feed every input of the network by its name",
        )
    sizes: dict[str, tuple[int, str]] = {}
    for name, spec in expected.items():
        _check_array(info, spec, feeds[name])
        for axis, want in enumerate(spec.shape):
            if isinstance(want, str):
                got = feeds[name].shape[axis]
                first, where = sizes.setdefault(want, (got, name))
                if got != first:
                    raise EngineRunError(
                        f"{info.file}: axis {want} is {first} in input {where} and {got} in input {name}",
                        remedy="feed the same size for axes of one name",
                    )


def _check_array(info: RunnerInfo, spec: TensorSpec, array: np.ndarray) -> None:
    wanted = f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
    if not isinstance(array, np.ndarray):
        raise EngineRunError(f"{info.file}: input {spec.name} is a {type(array).__name__}, expected {wanted} in numpy")
    got = f"{array.dtype} {list(array.shape)}"
    fits = array.ndim == len(spec.shape) and all(
        size == want if isinstance(want, int) and want >= 0 else size >= 1
        for size, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(spec.dtype):
        if array.ndim and array.shape[1:] == spec.shape[1:] and info.fixed_batch not in (None, len(array)):
            raise EngineRunError(
                f"{info.file}: batch of {len(array)} in input {spec.name}, the file takes {info.fixed_batch} and no other",
                remedy=f"give {info.fixed_batch} images, or `resnet-deploy import` the file: that frees the batch if it can",
            )
        raise EngineRunError(
            f"{info.file}: input {spec.name} is {got}, expected {wanted}",
            remedy="preprocess the images as the manifest says, and give one array with a batch axis",
        )
    if info.max_batch is not None and array.shape[0] > info.max_batch:
        raise EngineRunError(
            f"{info.file}: batch of {array.shape[0]} in input {spec.name}, at most {info.max_batch} in one call",
            remedy="split the batch, or build the engine with a larger maximum",
        )


class BaseRunner(ABC):
    """A runner of `engine.contract`: a backend fills in `_run`, `_timed_loop` and `_release`.

    Attributes:
        info: Set by the backend before the first call.
    """

    info: RunnerInfo
    _closed = False

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One forward pass; see `Runner.run`."""
        self._ready(feeds)
        return self._run(feeds)

    def timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        """Seconds of each pass; see `Runner.timed_loop`."""
        if iterations < 1:
            raise EngineRunError(f"{iterations} iterations asked for, expected at least 1")
        self._ready(feeds)
        return self._timed_loop(feeds, iterations)

    def close(self) -> None:
        """Free what the backend holds; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self, feeds: Mapping[str, np.ndarray]) -> None:
        if self._closed:
            raise EngineRunError(f"{self.info.file}: this runner is closed", remedy="open it again")
        check_feeds(self.info, feeds)

    @abstractmethod
    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray: ...

    @abstractmethod
    def _release(self) -> None: ...
