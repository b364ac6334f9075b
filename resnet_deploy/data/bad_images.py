"""Images that can not be used: each is named, and more than the user allowed end the work."""

from __future__ import annotations

__all__ = ["BadImage", "BadImages"]

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from resnet_deploy.core.errors import DataError

_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class BadImage:
    """One image that was left out.

    Attributes:
        index: Its place in the source.
        name: Its path, as the source's `name` gives it.
        reason: Why it can not be used; does not repeat the name.
    """

    index: int
    name: str
    reason: str

    @classmethod
    def of(cls, index: int, name: str, error: DataError) -> BadImage:
        """What `error` says about the image, without its name."""
        return cls(index=index, name=name, reason=error.message.removeprefix(name).removeprefix(":").strip())

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class BadImages:
    """Collects unusable images up to a limit; each counts once, by name. Safe to use from threads.

    One collector may serve several sources and passes: an image met again in the next epoch is the same one.

    Args:
        limit: So many are tolerated (`--skip-bad`).
    """

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._seen: dict[str, BadImage] = {}
        self._lock = threading.Lock()

    def add(self, bad: BadImage) -> bool:
        """Count `bad`; true where it was not known before.

        Raises:
            DataError: It is one more than the limit; lists them.
        """
        with self._lock:
            if bad.name in self._seen:
                return False
            self._seen[bad.name] = bad
            if len(self._seen) > self.limit:
                raise self._too_many()
            return True

    def take(self, found: Iterable[BadImage]) -> None:
        """Count all of `found`; raises DataError as `add` does."""
        for bad in found:
            self.add(bad)

    def __len__(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[BadImage]:
        """In the order of index and name, whatever the order in which they were met."""
        with self._lock:
            found = list(self._seen.values())
        return iter(sorted(found, key=lambda bad: (bad.index, bad.name)))

    def _too_many(self) -> DataError:
        found = sorted(self._seen.values(), key=lambda bad: (bad.index, bad.name))
        if len(found) == 1:
            return DataError(
                f"{found[0]}", remedy="remove or replace this file, or leave up to N such files out with --skip-bad N"
            )
        lines = [f"  {bad}" for bad in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  and {len(found) - _SHOWN} more")
        return DataError(
            f"{len(found)} images can not be used so far, {self.limit} were allowed:\n" + "\n".join(lines),
            remedy="remove or replace these files, or allow more with --skip-bad",
        )
