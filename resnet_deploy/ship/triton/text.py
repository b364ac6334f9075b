"""Writing a model configuration as the protobuf text that Triton reads, config.pbtxt."""

from __future__ import annotations

__all__ = ["config_text"]

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from resnet_deploy.ship.triton.config import ModelConfig

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def config_text(config: ModelConfig) -> str:
    """The text of `config`, two spaces a level, each field on its own line."""
    return "".join(f"{line}\n" for line in _message_lines(config))


def _message_lines(message: Any) -> Iterator[str]:
    for entry in fields(message):
        value = getattr(message, entry.name)
        if isinstance(value, dict):
            for key, item in value.items():
                yield f"{entry.name} {{"
                yield from _indented(_field_lines("key", key))
                yield from _indented(_field_lines("value", item))
                yield "}"
        elif isinstance(value, tuple) and value and not is_dataclass(value[0]):
            yield f"{entry.name}: [{', '.join(map(_scalar, value))}]"
        elif isinstance(value, tuple):
            for item in value:
                yield from _field_lines(entry.name, item)
        elif value is not None:
            yield from _field_lines(entry.name, value)


def _field_lines(name: str, value: Any) -> Iterator[str]:
    if is_dataclass(value):
        yield f"{name} {{"
        yield from _indented(_message_lines(value))
        yield "}"
    else:
        yield f"{name}: {_scalar(value)}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _scalar(value: bool | int | str | Enum) -> str:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + "".join(_ESCAPES.get(character, character) for character in value) + '"'
