"""Rules that several fields of `bundle.json` share: what a path, a text and a time may be."""

from __future__ import annotations

__all__ = ["created_problems", "path_problem", "refuse", "text_problems"]

import re
from datetime import datetime

from resnet_deploy.core.errors import ConfigError

_MAX_PARTS, _MAX_PATH, _MAX_TEXT = 8, 200, 1000
_PART = re.compile(r"(?!\.)[A-Za-z0-9._-]+")


def path_problem(path: str) -> str:
    """Why a path has no place in a bundle; empty where it has one."""
    parts = path.split("/")
    if len(path) > _MAX_PATH or len(parts) > _MAX_PARTS:
        return f"it has {len(path)} characters and {len(parts)} parts, at most {_MAX_PATH} and {_MAX_PARTS} are allowed"
    if not all(_PART.fullmatch(part) for part in parts):
        return "a part of it is empty, begins with a dot, or has other characters than A-Z a-z 0-9 . _ -"
    return ""


def refuse(problems: list[str]) -> None:
    """Raise ConfigError with all of them, if there are any."""
    if problems:
        raise ConfigError("; ".join(problems), remedy="see docs/reference/bundle.md; make the bundle again")


def text_problems(**texts: str) -> list[str]:
    """Names of the texts that are empty, too long, or hold control characters, each as a sentence."""
    return [
        f"{name} {text[:40]!r} must have 1 to {_MAX_TEXT} characters, none of them a control character"
        for name, text in texts.items()
        if not 0 < len(text) <= _MAX_TEXT or any(ord(letter) < 32 or ord(letter) == 127 for letter in text)
    ]


def created_problems(created: str) -> list[str]:
    """Whether it is a time in ISO 8601."""
    try:
        datetime.fromisoformat(created)
    except ValueError:
        return [f"created {created[:40]!r} is not a time in ISO 8601"]
    return []
