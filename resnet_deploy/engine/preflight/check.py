"""One question asked of a file before it is used, and the answer."""

from __future__ import annotations

__all__ = ["Check", "State"]

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """GOOD: as it must be. NOT_CHECKED: can not be told here. MISFIT: whole, but not for this. DAMAGED: not whole."""

    GOOD = "good"
    NOT_CHECKED = "not checked"
    MISFIT = "does not fit"
    DAMAGED = "damaged"

    def __str__(self) -> str:
        return self.value

    @property
    def failed(self) -> bool:
        return self in (State.MISFIT, State.DAMAGED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Attributes:
    subject: What was asked after: "header", "manifest", "library", "GPU sm89", "driver", ...
    text: What was found, and what was expected where that differs.
    """

    subject: str
    state: State
    text: str
