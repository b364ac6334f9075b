"""How long work says how far it is, without knowing who listens."""

from __future__ import annotations

__all__ = ["NO_PROGRESS", "Progress"]

from typing import Protocol


class Progress(Protocol):
    """Receives the advance of one stage at a time; the command line draws it, a library user may ignore it."""

    def start(self, description: str, total: int | None) -> None:
        """Begin a piece of work of `total` steps (None: not known); ends the one before."""

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """`steps` more are done; `note` is a short state such as "loss 0.31"."""

    def log(self, message: str) -> None:
        """One line that a person wants to see after the bar is gone."""


class _Silent:
    def start(self, description: str, total: int | None) -> None:
        pass

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        pass

    def log(self, message: str) -> None:
        pass


NO_PROGRESS: Progress = _Silent()
