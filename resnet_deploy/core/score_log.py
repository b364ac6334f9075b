"""Scores that are kept as they come, so that a run that was killed goes on where it was."""

from __future__ import annotations

__all__ = ["ScoreLog", "score_key"]

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_deploy import __version__
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.score import Score


def score_key(*parts: Any) -> str:
    """SHA-256 of what a score depends on; the program's version is part of it."""
    return sha256_of_bytes(json.dumps([__version__, *map(to_plain, parts)], sort_keys=True).encode())


class ScoreLog:
    """A JSON lines file, key -> score. A last line that was cut off is dropped; lines of other runs do no harm.

    Attributes:
        num_reused: How many scores were not measured again.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._scores: dict[str, Score] = {}
        self.num_reused = 0
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self._scores[row["key"]] = from_plain(Score, row["score"], source=str(path))
                except (json.JSONDecodeError, KeyError, TypeError, ConfigError):
                    continue

    def score(self, key: str, measure: Callable[[], Score]) -> Score:
        """The score of that key, measured and written down where it is not there yet."""
        if key in self._scores:
            self.num_reused += 1
            return self._scores[key]
        score = measure()
        self._scores[key] = score
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab+") as file:
            if file.tell() and _last_byte(file) != b"\n":
                file.write(b"\n")  # after a line that was cut off
            file.write(json.dumps({"key": key, "score": to_plain(score)}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return score

    def remove(self) -> None:
        """Delete the file: what it held is in a finished result."""
        self._path.unlink(missing_ok=True)


def _last_byte(file) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
