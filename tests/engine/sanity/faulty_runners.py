"""Runners with one planted fault each, around a sound one: what the sanity gate must find."""

from __future__ import annotations

__all__ = ["FAULTS", "FaultyRunner", "with_profile"]

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from resnet_deploy.engine.contract import Runner, RunnerInfo, ShapeProfile

Outputs = dict[str, np.ndarray]
Fault = Callable[["FaultyRunner", np.ndarray, Outputs], Outputs]


class FaultyRunner:
    """Answers as `inner` does, changed by `fault(self, images, outputs)`; `memory` is the fault's own."""

    def __init__(self, inner: Runner, fault: Fault, info: RunnerInfo | None = None) -> None:
        self._inner, self._fault = inner, fault
        self.info = info or inner.info
        self.memory: dict = {}
        self.batches: list[int] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Outputs:
        images = next(iter(feeds.values()))
        self.batches.append(len(images))
        return self._fault(self, images, self._inner.run(feeds))


def with_profile(info: RunnerInfo, smallest: int, usual: int, largest: int) -> RunnerInfo:
    """The same, as an engine with one optimization profile describes itself."""
    row = info.inputs[0].shape[1:]
    profile = ShapeProfile(min=(smallest, *row), opt=(usual, *row), max=(largest, *row))
    return dataclasses.replace(info, profiles=(profile,), max_batch=largest)


def _rows(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    return lambda _runner, _images, outputs: {name: change(rows.copy()) for name, rows in outputs.items()}


def _corrupt_last_of_many(rows: np.ndarray) -> np.ndarray:
    if len(rows) > 2:
        rows[2] = rows[2] * 0.5
    return rows


def _swap_first_two(rows: np.ndarray) -> np.ndarray:
    if len(rows) > 1:
        rows[[0, 1]] = rows[[1, 0]]
    return rows


def _only_above(limit: int) -> Fault:
    def fault(_runner: FaultyRunner, images: np.ndarray, outputs: Outputs) -> Outputs:
        return {n: np.roll(rows, 1, axis=0) if len(images) > limit else rows for n, rows in outputs.items()}

    return fault


def _only_at(batch: int) -> Fault:
    def fault(_runner: FaultyRunner, images: np.ndarray, outputs: Outputs) -> Outputs:
        outputs = {name: rows.copy() for name, rows in outputs.items()}
        if len(images) == batch:
            for rows in outputs.values():
                rows[-1] = rows[0]
        return outputs

    return fault


def _stale(runner: FaultyRunner, images: np.ndarray, outputs: Outputs) -> Outputs:
    """The last row of a small batch after a larger one is still the larger one's."""
    before = runner.memory.get("outputs")
    kept = {name: rows.copy() for name, rows in outputs.items()}
    if before is not None and len(next(iter(before.values()))) > len(images):
        for name, rows in kept.items():
            rows[-1] = before[name][len(images) - 1]
    runner.memory["outputs"] = outputs
    return kept


def _nan_on_white(_runner: FaultyRunner, images: np.ndarray, outputs: Outputs) -> Outputs:
    white = images.reshape(len(images), -1).min(axis=1) > 0
    return {name: np.where(white[:, None], np.nan, rows).astype(rows.dtype) for name, rows in outputs.items()}


def _drift(runner: FaultyRunner, _images: np.ndarray, outputs: Outputs) -> Outputs:
    """One unit in the last place more at every call."""
    calls = runner.memory["calls"] = runner.memory.get("calls", 0) + 1
    return {name: rows * (1 + calls * np.finfo(rows.dtype).eps) for name, rows in outputs.items()}


def _constant(_runner: FaultyRunner, _images: np.ndarray, outputs: Outputs) -> Outputs:
    return {name: np.ones_like(rows) for name, rows in outputs.items()}


def _second_differs(rows: np.ndarray) -> np.ndarray:
    rows[1::2] = rows[1::2] * 0.8
    return rows


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "one row is corrupted": (_rows(_corrupt_last_of_many), "batch sizes", r"row 2 is not what the image gets alone"),
    "two rows are swapped": (_rows(_swap_first_two), "permuted rows", r"row \d+ depends on the order of the rows"),
    "stale rows": (_stale, "stale rows", r"batch \d+ after batch \d+: row \d+ is not"),
    "wrong above batch 8": (_only_above(8), "batch sizes", r"batch (9|12|15|16|17).*also wrong: batch"),
    "wrong at the largest batch": (_only_at(16), "batch sizes", r"^batch 16\b"),
    "wrong past the largest batch": (_only_at(17), "batch sizes", r"^batch 17\b"),
    "NaN on white": (_nan_on_white, "finite", r"all white: \d+ values of output logits are NaN or infinite"),
    "drift": (_drift, "repeat", r"call 2 of batch \d+: row 0 of output logits is not what it was"),
    "constant": (_constant, "answers differ", r"images get the same answer"),
    "odd rows differ": (_rows(_second_differs), "duplicate rows", r"row \d*[13579] differs from its duplicate"),
}
"""What is wrong -> the fault, the check that is meant for it, and what the report says of the place."""
