"""Recipes: every number that shapes a training run, in one frozen object that a TOML file or --set can fill."""

from __future__ import annotations

__all__ = ["Recipe", "known_recipes", "learning_rate_at", "load_recipe", "override_recipe", "usual_recipe"]

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from resnet_deploy.core.config import from_plain, load_toml, to_plain
from resnet_deploy.core.errors import ConfigError

SCHEDULES = ("one-cycle", "cosine", "step")

_FOLDER = Path(__file__).with_name("recipes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """SGD with momentum, a learning-rate schedule, and the random changes made to training images.

    Attributes:
        epochs: Passes over the training images.
        max_steps: Stop after so many steps even inside an epoch; 0 for no limit.
        batch_size: Images per step; images that do not fill a last batch sit out that epoch.
        schedule: "one-cycle" (linear to zero), "cosine" (half a cosine to zero) or "step" (divided by 10 at each
            milestone); all three after the warm-up.
        learning_rate: The highest one.
        warmup_fraction: Share of the steps in which the rate rises linearly from zero.
        milestones: Steps at which "step" divides the rate; no effect on the other schedules, so refused there.
        weight_decay: On every parameter, as in the paper.
        label_smoothing: Share of the target spread over all classes.
        crop_padding_px: Black border added on every side before a crop of the input's size at a random place.
        flip: Mirror half of the images left to right.
        rotate_degrees, scale_fraction: Largest rotation and change of size, drawn uniformly in both directions.
        evaluate_every: Epochs between two looks at the held-out images; the last epoch is always looked at.
    """

    name: str
    epochs: int
    batch_size: int
    schedule: str
    learning_rate: float
    momentum: float
    weight_decay: float
    max_steps: int = 0
    warmup_fraction: float = 0.0
    milestones: tuple[int, ...] = ()
    nesterov: bool = True
    label_smoothing: float = 0.0
    crop_padding_px: int = 0
    flip: bool = False
    rotate_degrees: float = 0.0
    scale_fraction: float = 0.0
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        checks = (
            (self.epochs >= 1, "epochs", "at least 1"),
            (self.batch_size >= 2, "batch_size", "at least 2 (batch normalisation needs two images)"),
            (self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}"),
            (0 < self.learning_rate < math.inf, "learning_rate", "above 0 and finite"),
            (0 <= self.momentum < 1, "momentum", "from 0 to below 1"),
            (not self.nesterov or self.momentum > 0, "nesterov", "false where momentum is 0"),
            (0 <= self.weight_decay < math.inf, "weight_decay", "0 or more"),
            (self.max_steps >= 0, "max_steps", "0 (no limit) or more"),
            (0 <= self.warmup_fraction < 1, "warmup_fraction", "from 0 to below 1"),
            (all(m > 0 for m in self.milestones), "milestones", "positive step numbers"),
            (not self.milestones or self.schedule == "step", "milestones", "empty unless schedule is 'step'"),
            (0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1"),
            (self.crop_padding_px >= 0, "crop_padding_px", "0 or more"),
            (0 <= self.rotate_degrees <= 180, "rotate_degrees", "from 0 to 180"),
            (0 <= self.scale_fraction < 1, "scale_fraction", "from 0 to below 1"),
            (self.evaluate_every >= 1, "evaluate_every", "at least 1"),
        )
        problems = [f"{key} is {getattr(self, key)!r}, expected {want}" for good, key, want in checks if not good]
        if problems:
            raise ConfigError(f"recipe {self.name!r}: " + "; ".join(problems), remedy="correct the named values")


def known_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by its name, or from a TOML file with the fields of `Recipe`.

    Raises:
        ConfigError: Unknown name, missing file, unknown keys or wrong values.
    """
    if str(name) in known_recipes():
        return load_toml(Recipe, _FOLDER / f"{name}.toml")
    if Path(name).suffix != ".toml":
        raise ConfigError(
            f"unknown recipe {str(name)!r}", remedy=f"take {', '.join(known_recipes())}, or the path of a .toml file"
        )
    return load_toml(Recipe, Path(name))


def usual_recipe(data: str) -> str:
    """Name of the recipe that fits a data set where none is asked for."""
    return "fast-digits" if data == "digits" else "fast-cifar"


def override_recipe(recipe: Recipe, changes: Mapping[str, Any] | Iterable[str]) -> Recipe:
    """The recipe with some fields changed; its name says which.

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
    return from_plain(Recipe, {**plain, "name": name, **different}, source="recipe")


def learning_rate_at(recipe: Recipe, step: int, total_steps: int) -> float:
    """The learning rate of step `step`, counted from 0, in a run of `total_steps`."""
    warmup = round(recipe.warmup_fraction * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.1 ** sum(step >= milestone for milestone in recipe.milestones)
    left = (total_steps - step) / (total_steps - warmup)
    return recipe.learning_rate * (left if recipe.schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2)


def _parse_change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"{text!r} is not of the form key=value",
            remedy=f"for example epochs=3; keys: {', '.join(field.name for field in fields(Recipe))}",
        )
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value.strip()
