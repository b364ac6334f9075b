"""One way in and out of text for option dataclasses: strict, and with every problem reported at once."""

from __future__ import annotations

__all__ = ["from_plain", "load_toml", "to_plain"]

import dataclasses
import difflib
import sys
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

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
_LIST_EXAMPLES = {int: "[8000, 12000]", float: "[0.08, 1.0]"}
_FEW_KEYS = 8  # that a message can list


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


def _list(value: Any, kind: type) -> Any:
    """Refuses a text, which is a sequence of letters to Python and so to cattrs."""
    if not isinstance(value, (list, tuple)):
        example = _LIST_EXAMPLES.get(get_args(kind)[0], '["a", "b"]')
        raise TypeError(f"{value!r} is not a list, expected one such as {example}")
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    structure_items = converter.get_structure_hook(tuple[int, ...])
    converter.register_structure_hook_func(
        lambda kind: get_origin(kind) is tuple and get_args(kind)[-1:] == (...,),
        lambda value, kind: structure_items(_list(value, kind), kind),
    )
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
        return "; ".join(f"unknown key {key!r}{_instead(key, known)}" for key in sorted(error.extra_fields))
    if isinstance(error, ConfigError):
        return error.message
    if isinstance(error, (ValueError, TypeError)):
        return str(error)
    return format_exception(error, kind)


def _instead(key: str, known: list[str]) -> str:
    if near := difflib.get_close_matches(key, known, n=1):
        return f" (did you mean {near[0]!r}?)"
    if len(known) <= _FEW_KEYS:
        return f" (known: {', '.join(known)})"
    # no typing error: what begins or ends alike may be what was meant
    parts = set(key.split("_"))
    alike = [name for name in known if parts & set(name.split("_"))]
    return f" ({', '.join(alike)}?)" if alike else ""


def from_plain(kind: type[T], data: Any, *, source: str, remedy: str = "correct the named keys") -> T:
    """Build the dataclass `kind` from dicts, lists, texts and numbers as TOML or JSON give them.

    Args:
        kind: A dataclass; fields may be dataclasses, tuples, enums, paths and optionals.
        source: Where `data` comes from, for the message.
        remedy: How to find out what is right, where the one problem there is does not say it itself.
    Raises:
        ConfigError: Unknown keys, missing keys or wrong types; lists all of them, each with its place.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except ConfigError:
        raise
    except Exception as error:  # cattrs raises groups of many types
        remedies: list[str] = []

        def describe(error: BaseException, kind: type | None) -> str:
            if isinstance(error, ConfigError) and error.remedy:
                remedies.append(error.remedy)
            return _describe(error, kind)

        problems = cattrs.transform_error(error, path=source, format_exception=describe)
        lines = "\n  ".join(problem.removesuffix(f" @ {source}") for problem in problems)
        raise ConfigError(
            f"{source}: {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n  {lines}",
            remedy=remedies[0] if remedies and len(problems) == 1 else remedy,
        ) from error


def to_plain(value: Any) -> Any:
    """The inverse of `from_plain`: only dicts, lists, texts, numbers, booleans and None."""
    return _CONVERTER.unstructure(value)


def load_toml(kind: type[T], path: Path, *, remedy: str = "correct the named keys") -> T:
    """Read a TOML file into the dataclass `kind`.

    Args:
        remedy: As for `from_plain`.
    Raises:
        ConfigError: The file is missing, is not TOML, or does not fit `kind`.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected a .toml file", remedy="name a file inside it")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", remedy="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}", remedy="write key = value, one on each line") from error
    return from_plain(kind, data, source=str(path), remedy=remedy)
