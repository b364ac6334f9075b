"""`resnet-deploy recipes`: what the training recipes say."""

from __future__ import annotations

__all__ = ["command"]

from typing import Annotated, Any

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import print_data, print_json, table


def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Recipes or .toml files; by default all that ship.")
    ] = None,
    json: JSON = False,
) -> None:
    """Recipes side by side, field by field; "-" stands for what a recipe leaves off.

    Any field is changed for one run with `resnet-deploy train --set FIELD=VALUE`.
    """
    from dataclasses import fields

    from resnet_deploy.core.config import to_plain
    from resnet_deploy.train.recipe import Recipe
    from resnet_deploy.train.recipe_book import known_recipes, load_recipe

    recipes = [to_plain(load_recipe(name)) for name in names or known_recipes()]
    if json:
        print_json(recipes)
        return
    usual = {field.name: field.default for field in fields(Recipe)}
    rows = [
        (field, *(_cell(recipe[field], usual[field]) for recipe in recipes)) for field in recipes[0] if field != "name"
    ]
    print_data(table("Recipes", ("field", *(recipe["name"] for recipe in recipes)), rows))


def _cell(value: Any, usual: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, [], ()) or value == usual == 0:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{item:g}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
