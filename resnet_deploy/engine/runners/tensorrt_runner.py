"""Running an engine, with TensorRT 10.x or 11.x or TensorRT-RTX: the API they have in common.

docs/reference/unverified.md lists what no test here runs.
"""

from __future__ import annotations

__all__ = ["TensorRTRunner", "open_tensorrt"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.products import find_product, import_product
from resnet_deploy.engine.runners.base import BaseRunner
from resnet_deploy.engine.runners.cuda_device import CudaDevice, open_cuda_device
from resnet_deploy.engine.runners.loaded_engine import EngineSettings, LoadedEngine
from resnet_deploy.engine.runners.passes import filled_size, graph_sizes, profile_index
from resnet_deploy.engine.runners.slot import Slot

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_SLOTS = 8
"""Shapes that are kept ready, each with a context and its memory; the one not used for longest goes first."""


def open_tensorrt(
    file: Path, data: bytes, *, product: str, manifest: Manifest | None, settings: EngineSettings
) -> TensorRTRunner:
    """A runner for an engine whose bytes the caller trusts.

    Args:
        manifest: Of the engine, where it has one: says whether its weights are elsewhere.
    Raises:
        MissingDependencyError: The product or a GPU is not here.
        ArtifactError: The engine has no weights, and the file that has them is not there.
        EngineRunError: The product refuses the engine.
    """
    trt = import_product(find_product(product))
    device = open_cuda_device(f"running {file}")
    return TensorRTRunner(file, data, trt=trt, product=product, device=device, manifest=manifest, settings=settings)


class TensorRTRunner(BaseRunner):
    """One engine on one stream, with everything ready for each of the input shapes it met last."""

    def __init__(
        self,
        file: Path,
        data: bytes,
        *,
        trt: ModuleType,
        product: str,
        device: CudaDevice,
        manifest: Manifest | None,
        settings: EngineSettings,
    ) -> None:
        self._device = device
        self._slots: dict[tuple[tuple[int, ...], ...], Slot] = {}
        self._last: tuple[tuple[tuple[int, ...], ...], Slot] | None = None
        self._engine = LoadedEngine(file, data, trt=trt, device=device, settings=settings, manifest=manifest)
        try:
            inputs, outputs = self._engine.tensors()
            profiles = [self._engine.profiles(spec.name) for spec in inputs]
        except BaseException:
            self._engine.release()
            raise
        largest = [
            max((p.max[0] for p in own), default=spec.shape[0]) for own, spec in zip(profiles, inputs, strict=True)
        ]
        self._names = tuple(spec.name for spec in inputs)
        self.info = RunnerInfo(
            backend=product,
            version=trt.__version__,
            device=device.name,
            file=str(file),
            inputs=inputs,
            outputs=outputs,
            max_batch=min(largest),
            note="; ".join(self._engine.notes),
            profiles=profiles[0],
            cuda_graphs=settings.cuda_graphs,
        )

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        key = tuple([feeds[name].shape for name in self._names])
        if self._last is None or self._last[0] != key:
            self._last = key, self._slot(key, captured=self._is_graph_size(key))
        return self._last[1].run(feeds)

    def _timed_loop(self, feeds: Mapping[str, np.ndarray], iterations: int) -> np.ndarray:
        key = tuple([feeds[name].shape for name in self._names])
        return self._slot(key, captured=True).time(feeds, iterations)

    def _slot(self, key: tuple[tuple[int, ...], ...], *, captured: bool) -> Slot:
        """What is ready for these input shapes, made if it is not."""
        slot = self._slots.pop(key, None)
        if slot is None:
            self._last = None
            while len(self._slots) >= _MAX_SLOTS:
                self._slots.pop(next(iter(self._slots))).release()
            slot = self._new_slot(key)
        self._slots[key] = slot
        if captured and self.info.cuda_graphs and not self._engine.own_graphs and not slot.is_captured:
            self._capture(key, slot)
        return self._slots[key]

    def _new_slot(self, key: tuple[tuple[int, ...], ...]) -> Slot:
        with self._engine.lock:
            return Slot(
                self._engine,
                self._device,
                profile=profile_index(self.info.profiles, key[0]) or 0,
                shapes=dict(zip(self._names, key, strict=True)),
                inputs=self.info.inputs,
                outputs=self.info.outputs,
            )

    def _capture(self, key: tuple[tuple[int, ...], ...], slot: Slot) -> None:
        try:
            with self._engine.lock:
                slot.capture()
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            note = f"CUDA graphs could not be captured, every pass is launched kernel by kernel: {first}"
            self.info = replace(
                self.info, cuda_graphs=False, note="; ".join(text for text in (self.info.note, note) if text)
            )
            self._plans.clear()  # sizes need not be filled up any more
            self._last = None
            self._slots.pop(key).release()
            self._slots[key] = self._new_slot(key)

    def _is_graph_size(self, key: tuple[tuple[int, ...], ...]) -> bool:
        index = profile_index(self.info.profiles, key[0])
        return index is None or key[0][0] in graph_sizes(self.info.profiles[index])

    def _filled_size(self, size: int, row: Sequence[int]) -> int:
        index = profile_index(self.info.profiles, (size, *row)) if self.info.cuda_graphs else None
        if index is None:
            return size
        return filled_size(graph_sizes(self.info.profiles[index]), size) or size

    def _forked(self, other: Self) -> Self:
        other._device, other._slots, other._last = self._device.fork(), {}, None
        self._engine.acquire()
        return other

    def _release(self) -> None:
        self._last = None
        for slot in self._slots.values():
            slot.release()
        self._slots.clear()
        self._engine.release()
