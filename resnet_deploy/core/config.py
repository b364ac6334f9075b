"""One way in and out of text for option dataclasses: strict, and with every problem reported at once."""

from __future__ import annotations

__all__ = ["from_plain", "load_toml", "to_plain"]

import dataclasses
import difflib
import sys
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.strategies import configure_union_passthrough
from cattrs.v import format_exception

from resnet_deploy.core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def _number(value: Any, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _integer(value: Any, _: type) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _truth(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _text(value: Any, kind: type) -> str:
    if kind is not str:  # cattrs gives subclasses of a type to its hook; here: enums of texts
        return kind(value)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, hook in ((float, _number), (int, _integer), (bool, _truth), (str, _text)):
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook(Path, lambda value, _: Path(_text(value, str)))
    converter.register_unstructure_hook(Path, str)
    configure_union_passthrough(int | float | str | bool | None, converter)
    return converter


_CONVERTER = _make_converter()


def _describe(error: BaseException, kind: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in dataclasses.fields(error.cl)] if dataclasses.is_dataclass(error.cl) else []
        parts = []
        for key in sorted(error.extra_fields):
            near = difflib.get_close_matches(key, known, n=1)
            parts.append(f"unknown key {key!r}" + (f" (did you mean {near[0]!r}?)" if near else f" (known: {known})"))
        return "; ".join(parts)
    if isinstance(error, (ValueError, TypeError, ConfigError)):
        return str(error)
    return format_exception(error, kind)


def from_plain(kind: type[T], data: Any, *, source: str) -> T:
    """Build the dataclass `kind` from dicts, lists, texts and numbers as TOML or JSON give them.

    Args:
        kind: A dataclass; fields may be dataclasses, tuples, enums, paths and optionals.
        source: Where `data` comes from, for the message.
    Raises:
        ConfigError: Unknown keys, missing keys or wrong types; lists all of them, each with its place.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except ConfigError:
        raise
    except Exception as error:  # cattrs raises groups of many types
        problems = cattrs.transform_error(error, path=source, format_exception=_describe)
        raise ConfigError(
            f"{source}: {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n  " + "\n  ".join(problems),
            remedy="correct the named keys",
        ) from error


def to_plain(value: Any) -> Any:
    """The inverse of `from_plain`: only dicts, lists, texts, numbers, booleans and None."""
    return _CONVERTER.unstructure(value)


def load_toml(kind: type[T], path: Path) -> T:
    """Read a TOML file into the dataclass `kind`.

    Raises:
        ConfigError: The file is missing, is not TOML, or does not fit `kind`.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: no such file", remedy="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}", remedy="see docs/guides/deploy.md") from error
    return from_plain(kind, data, source=str(path))
