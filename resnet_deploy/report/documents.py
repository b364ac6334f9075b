"""What a report is made of: files with their manifests, the result documents among them, and training curves."""

from __future__ import annotations

__all__ = ["Document", "Entry", "TrainingCurve", "read_curve"]

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ArtifactError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file with a readable manifest.

    Attributes:
        name: Relative to the folder, with "/".
        weights: As in `bench.run.BenchRow`.
        damage: Why the file is not the one its manifest was written for; empty where it is.
    """

    name: str
    manifest: Manifest
    weights: str
    damage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document(Generic[T]):
    """A result that a command wrote, and the file it is in.

    Attributes:
        is_stale: A file it speaks of has been made anew since.
    """

    entry: Entry
    result: T
    is_stale: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCurve:
    """Errors in percent by epoch; None where one was not measured."""

    name: str
    epochs: tuple[float, ...]
    train_error: tuple[float | None, ...]
    val_error: tuple[float | None, ...]


def read_curve(file: Path) -> TrainingCurve:
    """Read the `.metrics.jsonl` that `train` wrote.

    Raises:
        ArtifactError: A line is no row of metrics (the message names it), or there is none.
    """
    epochs, train, val = [], [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            row = json.loads(line)
            epochs.append(float(row["epoch"]))
            train.append(_error(row.get("train_error_percent")))
            val.append(_error(row.get("val_error_percent")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{file}, line {number} is not a row of training metrics") from error
    if not epochs:
        raise ArtifactError(f"{file} is empty")
    return TrainingCurve(
        name=file.name.removesuffix(".metrics.jsonl"),
        epochs=tuple(epochs),
        train_error=tuple(train),
        val_error=tuple(val),
    )


def _error(value: object) -> float | None:
    return None if value is None else float(value)
