"""What a run writes down as it goes: one JSON line per epoch, and TensorBoard's files where asked for."""

from __future__ import annotations

__all__ = ["Board", "open_board", "write_metrics"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.core.files import atomic_write


class Board(Protocol):
    """The part of TensorBoard's writer that training uses."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def close(self) -> None: ...


class _NoBoard:
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        pass

    def close(self) -> None:
        pass


def open_board(folder: Path | None, *, after_step: int) -> Board:
    """TensorBoard's writer; None gives one that writes nothing.

    Args:
        after_step: Steps that a resumed run keeps; later points of the interrupted one are hidden.
    Raises:
        MissingDependencyError: TensorBoard is not installed.
    """
    if folder is None:
        return _NoBoard()
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError("--tensorboard needs TensorBoard", remedy="pip install tensorboard") from error
    return SummaryWriter(str(folder), purge_step=after_step + 1 if after_step else None)


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows, one JSON object a line."""
    with atomic_write(path) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
