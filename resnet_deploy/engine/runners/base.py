"""What all runners share: the check of what goes in, the passes a call becomes, and the order open, run, close."""

from __future__ import annotations

__all__ = ["BaseRunner", "check_feeds"]

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.runners.passes import Pass, plan_passes, why_not_one_pass

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_PLANS = 64  # a call of a known signature is neither checked nor planned again


def check_feeds(info: RunnerInfo, feeds: Mapping[str, np.ndarray]) -> None:
    """Compare host arrays with the inputs of a network; the batch may be of any size.

    Raises:
        EngineRunError: A name is missing or unknown, or a type, rank or size does not fit; says which.
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
    batches = {name: array.shape[0] for name, array in feeds.items()}
    if len(set(batches.values())) > 1:
        raise EngineRunError(f"{info.file}: inputs have different batches, {batches}", remedy="feed equal batches")


def _check_array(info: RunnerInfo, spec: TensorSpec, array: np.ndarray) -> None:
    wanted = f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
    if not isinstance(array, np.ndarray):
        raise EngineRunError(f"{info.file}: input {spec.name} is a {type(array).__name__}, expected {wanted} in numpy")
    fits = array.ndim == len(spec.shape) and all(
        size >= 1 and (axis == 0 or not isinstance(want, int) or want in (-1, size))
        for axis, (size, want) in enumerate(zip(array.shape, spec.shape, strict=True))
    )
    if not fits or array.dtype != np.dtype(spec.dtype):
        raise EngineRunError(
            f"{info.file}: input {spec.name} is {array.dtype} {list(array.shape)}, expected {wanted}",
            remedy="preprocess the images as the manifest says, and give one array with a batch axis",
        )


class BaseRunner(ABC):
    """A runner of `engine.contract`: a backend fills in `_run`, `_timed_loop` and `_release`, of one pass each.

    Attributes:
        info: Set by the backend before the first call.
    """

    info: RunnerInfo
    _closed = False
    _plans: dict[Any, tuple[Pass, ...] | None]
    _filled: dict[str, np.ndarray]

    def __new__(cls, *_: object, **__: object) -> Self:
        self = super().__new__(cls)
        self._plans, self._filled = {}, {}
        return self

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Any number of rows; see `Runner.run`."""
        passes = self._passes(feeds)
        if passes is None:
            return self._run(feeds)
        return _joined(self.info, passes, [self._run(self._rows(feeds, one)) for one in passes])

    def timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        """Seconds of each pass; see `Runner.timed_loop`."""
        if iterations < 1:
            raise EngineRunError(f"{iterations} iterations asked for, expected at least 1")
        self._check_open()
        check_feeds(self.info, feeds)
        if reason := why_not_one_pass(self.info, _first(feeds).shape[0]):
            raise EngineRunError(
                f"{self.info.file}: {reason}", remedy="time a batch that is one pass; `run` takes any number of images"
            )
        return self._timed_loop(feeds, iterations)

    def fork(self) -> Self:
        """Another runner over the same network; see `Runner.fork`."""
        self._check_open()
        other = copy.copy(self)
        other._plans, other._filled = {}, {}
        return self._forked(other)

    def close(self) -> None:
        """Free what the backend holds; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineRunError(f"{self.info.file}: this runner is closed", remedy="open it again")

    def _passes(self, feeds: Mapping[str, np.ndarray]) -> tuple[Pass, ...] | None:
        """The passes of a call; None where it is one pass as it stands."""
        self._check_open()
        try:
            key = tuple([(name, array.shape, array.dtype) for name, array in feeds.items()])
            return self._plans[key]
        except (AttributeError, KeyError):  # not numpy, which check_feeds says; or not seen before
            check_feeds(self.info, feeds)
        shape = _first(feeds).shape
        count, row = shape[0], shape[1:]
        passes = plan_passes(self.info, count, row, fill=lambda size: self._filled_size(size, row))
        whole = len(passes) == 1 and passes[0].size == count
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[key] = None if whole else passes
        return self._plans[key]

    def _rows(self, feeds: Mapping[str, np.ndarray], one: Pass) -> dict[str, np.ndarray]:
        """The rows of a pass, filled up in an array that is kept for the next one of the same shape."""
        count = one.stop - one.start
        rows = {name: array[one.start : one.stop] for name, array in feeds.items()}
        if count == one.size:
            return rows
        filled = self._filled
        for name, array in rows.items():
            shape = (one.size, *array.shape[1:])
            if name not in filled or filled[name].shape != shape:
                filled[name] = np.empty(shape, array.dtype)
            filled[name][:count], filled[name][count:] = array, array[-1]
            rows[name] = filled[name]
        return rows

    def _filled_size(self, size: int, row: Sequence[int]) -> int:
        """The batch to run in place of one that fits: `size`, or a larger one that fits too."""
        return size

    def _forked(self, other: Self) -> Self:
        """`other`, a shallow copy of this runner, with its own of what two threads can not share."""
        return other

    @abstractmethod
    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray: ...

    @abstractmethod
    def _release(self) -> None: ...


def _first(feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    return next(iter(feeds.values()))


def _joined(info: RunnerInfo, passes: Sequence[Pass], outputs: Sequence[dict[str, np.ndarray]]) -> dict:
    """The rows that were asked for, of all passes."""
    for one, output in zip(passes, outputs, strict=True):
        for name, array in output.items():
            if array.ndim == 0 or len(array) != one.size:
                raise EngineRunError(
                    f"{info.file}: output {name} of a pass of {one.size} rows is {list(array.shape)}: without one row "
                    "for each image, a call that is not one pass can not be put together",
                    remedy=f"give {info.fixed_batch or info.max_batch or 'fewer'} images at a time",
                )
    parts = [
        {name: array[: one.stop - one.start] for name, array in output.items()}
        for one, output in zip(passes, outputs, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
