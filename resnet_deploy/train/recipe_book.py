"""The recipes that come with the package, recipes from files, and changes to either."""

from __future__ import annotations

__all__ = ["known_recipes", "load_recipe", "override_recipe", "recipe_toml", "usual_recipe"]

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from resnet_deploy.core.config import from_plain, load_toml, to_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.train.recipe import Recipe

_FOLDER = Path(__file__).with_name("recipes")
_LENGTHS = ("epochs", "steps")
_REMEDY = "correct what is named; `resnet-deploy recipes` shows every key and what the shipped recipes say"


def known_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by its name, or from a TOML file with the fields of `Recipe`.

    Raises:
        ConfigError: Unknown name, missing file, unknown keys or wrong values.
    """
    if str(name) in known_recipes():
        return load_toml(Recipe, _FOLDER / f"{name}.toml", remedy=_REMEDY)
    if Path(name).suffix != ".toml":
        raise ConfigError(
            f"unknown recipe {str(name)!r}", remedy=f"take {', '.join(known_recipes())}, or the path of a .toml file"
        )
    return load_toml(Recipe, Path(name), remedy=_REMEDY)


def recipe_toml(recipe: Recipe) -> str:
    """A TOML file that `load_recipe` takes; fields with their usual value are left out."""
    plain = to_plain(recipe)
    usual = {field.name: field.default for field in fields(Recipe)}
    kept = {key: value for key, value in plain.items() if value != to_plain(usual[key])}
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in kept.items())  # JSON's values are TOML's here


def usual_recipe(data: str, family: str) -> str:
    """Name of the recipe that fits a data set and a family of nets where none is asked for."""
    if data == "digits":
        return "fast-digits"
    return "fast-cifar" if family == "cifar" else "modern-imagenet"


def override_recipe(recipe: Recipe, changes: Mapping[str, Any] | Iterable[str]) -> Recipe:
    """The recipe with some fields changed; its name says which.

    A new number of epochs takes the place of a number of steps, and the other way round.

    Args:
        changes: Field -> value, or texts such as "epochs=3", "flip=true", "milestones=[100, 200]".
    Raises:
        ConfigError: Unknown field, wrong type or value; lists all of them.
    """
    if not isinstance(changes, Mapping):
        changes = dict(_parse_change(text) for text in changes)
    plain = to_plain(recipe)
    different = {key: value for key, value in changes.items() if key not in plain or plain[key] != value}
    if not different:
        return recipe
    name = f"{recipe.name} with " + ", ".join(f"{key}={different[key]}" for key in sorted(different))
    lengths = {key: 0 for key in _LENGTHS} if len(set(_LENGTHS) & set(different)) == 1 else {}
    return from_plain(Recipe, {**plain, **lengths, "name": name, **different}, source="recipe", remedy=_REMEDY)


def _parse_change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"{text!r} is not of the form key=value",
            remedy="write epochs=3, say; `resnet-deploy recipes` shows every key",
        )
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value.strip()
