"""Training runs as their metrics files tell them: one JSON object a line, one line an epoch."""

from __future__ import annotations

__all__ = ["METRICS_SUFFIX", "TrainingRun", "metrics_file_of", "read_run"]

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_deploy.analyze.networks import has_shortcuts
from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.nets.catalogue import find_net

METRICS_SUFFIX = ".metrics.jsonl"
_CHECKPOINT_SUFFIX = ".safetensors"
_REMEDY = "give the .metrics.jsonl that `resnet-deploy train` wrote, or the checkpoint it lies beside"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """One run, epoch by epoch; errors in percent, None where they were not measured.

    Attributes:
        label: Name of the run, from its file.
        net: The catalogue's name from the checkpoint's manifest; where that is not there (the run goes on, or
            only its metrics were kept) the file's name, if it is a net's; else empty.
        residual: Whether the net has shortcuts; None where `net` is not known.
        steps, train_error_percent, test_error_percent: One entry an epoch, "test" being the held-out images.
        best_test_error_percent, best_test_step: The lowest, which the paper's tables do not take: they take the last.
        notes: What was wrong with the file and tolerated.
    """

    label: str
    file: str
    net: str
    residual: bool | None
    steps: tuple[int, ...]
    train_error_percent: tuple[float | None, ...]
    test_error_percent: tuple[float | None, ...]
    final_train_error_percent: float | None
    final_test_error_percent: float | None
    best_test_error_percent: float | None
    best_test_step: int | None
    notes: tuple[str, ...] = field(default=())


def metrics_file_of(path: Path) -> Path:
    """The metrics file that `path` is, that lies beside the checkpoint `path`, or that is alone in the folder `path`.

    Raises:
        ArtifactError: None of these, or there is none beside it.
    """
    path = Path(path)
    if path.is_dir():
        return _only_metrics_in(path)
    if path.name.endswith(_CHECKPOINT_SUFFIX):
        metrics = path.with_name(path.name.removesuffix(_CHECKPOINT_SUFFIX) + METRICS_SUFFIX)
        if not metrics.is_file():
            missing = f"{metrics.name} is not beside it" if path.is_file() else "no such file, and no metrics either"
            raise ArtifactError(f"{path}: {missing}", remedy="only nets trained by `resnet-deploy train` have curves")
        return metrics
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", remedy=_REMEDY)
    if path.suffix != ".jsonl":
        raise ArtifactError(f"{path} is neither a checkpoint (.safetensors) nor a metrics file", remedy=_REMEDY)
    return path


def _only_metrics_in(folder: Path) -> Path:
    found = sorted(folder.glob(f"*{METRICS_SUFFIX}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
        held = f"holds {len(found)} metrics files ({names})" if found else f"is a folder without a *{METRICS_SUFFIX}"
        raise ArtifactError(f"{folder} {held}, expected one", remedy=_REMEDY)
    return found[0]


def read_run(path: Path, *, label: str) -> TrainingRun:
    """Read a run's metrics.

    A last line that is cut off (the run was killed in the middle of writing it) is left out; where a resumed run
    wrote some epochs again, the later rows count. `notes` says so.

    Raises:
        ArtifactError: Missing, empty, or not a metrics file; names the line and what is wrong with it.
    """
    file = metrics_file_of(path)
    rows, notes = _read_rows(file)
    kept: list[_Row] = []
    for row in rows:
        if kept and row.step <= kept[-1].step:
            notes.append(f"{file.name} goes back from step {kept[-1].step:,} to {row.step:,}; the later rows count")
            while kept and kept[-1].step >= row.step:
                kept.pop()
        kept.append(row)
    net = _net_of(file)
    tested = [(row.test, row.step) for row in kept if row.test is not None]
    best, best_step = min(tested, default=(None, None))
    return TrainingRun(
        label=label,
        file=str(file),
        net=net,
        residual=has_shortcuts(find_net(net)) if net else None,
        steps=tuple(row.step for row in kept),
        train_error_percent=tuple(row.train for row in kept),
        test_error_percent=tuple(row.test for row in kept),
        final_train_error_percent=next((row.train for row in reversed(kept) if row.train is not None), None),
        final_test_error_percent=tested[-1][0] if tested else None,
        best_test_error_percent=best,
        best_test_step=best_step,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    step: int
    train: float | None
    test: float | None


def _read_rows(file: Path) -> tuple[list[_Row], list[str]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{file} is not a text: {error}", remedy=_REMEDY) from error
    cut_off = lines.pop()  # what follows the last newline: nothing, or a line that was not finished
    rows = [_row(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    notes = []
    if cut_off.strip():
        try:
            rows.append(_row(cut_off, f"{file}, line {len(lines) + 1}"))
        except ArtifactError:
            if not rows:  # a file of one line that is no row was never a metrics file
                raise
            notes.append(f"{file.name}: line {len(lines) + 1} is cut off and was left out")
    if not rows:
        raise ArtifactError(f"{file} is empty: no epoch was finished", remedy="let the run finish an epoch first")
    return rows, notes


def _row(line: str, where: str) -> _Row:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{where} is not JSON ({error.msg}): {line[:60]!r}", remedy=_REMEDY) from error
    if not isinstance(data, dict) or "step" not in data or "train_error_percent" not in data:
        raise ArtifactError(
            f"{where} is no row of training metrics (no step and train_error_percent): {line[:60]!r}", remedy=_REMEDY
        )
    step = data["step"]
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        raise ArtifactError(f"{where}: step is {step!r}, expected a positive whole number", remedy=_REMEDY)
    return _Row(step, _percent(data, "train_error_percent", where), _percent(data, "val_error_percent", where))


def _percent(data: dict[str, Any], key: str, where: str) -> float | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100 or math.isnan(value):
        raise ArtifactError(f"{where}: {key} is {value!r}, expected 0 to 100 or null", remedy=_REMEDY)
    return float(value)


def _net_of(file: Path) -> str:
    """The net's name from the checkpoint's manifest, else from the front of the file's name ("plain20-short")."""
    stem = file.name.removesuffix(METRICS_SUFFIX)
    checkpoint = file.with_name(stem + _CHECKPOINT_SUFFIX)
    if checkpoint.is_file() and manifest_path(checkpoint).is_file():
        # the bytes do not matter here: a run that goes on may be about to replace them
        manifest = read_manifest(checkpoint, verify=False)
        if manifest.net is not None:
            return manifest.net.name
    ends = [len(stem), *(match.start() for match in reversed(list(re.finditer(r"[-_. ]", stem))))]
    return next((stem[:end] for end in ends if _is_net(stem[:end])), "")


def _is_net(name: str) -> bool:
    try:
        find_net(name)
    except ConfigError:
        return False
    return True
