"""The learning rate of every step: a fixed curve, and the two rules that look at the errors so far."""

from __future__ import annotations

__all__ = ["Schedule", "learning_rate_at"]

import math
from typing import Any

from resnet_deploy.train.recipe import Recipe

_ERROR_WINDOW = 100  # steps; one batch of 128 alone scatters by 3 points around an error of 80 %


def learning_rate_at(recipe: Recipe, step: int, total_steps: int) -> float:
    """The learning rate of step `step`, counted from 0, in a run of `total_steps`; "plateau" as if it never divides."""
    warmup = round(recipe.warmup_fraction * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "plateau":
        return recipe.learning_rate
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.1 ** sum(step >= milestone for milestone in recipe.milestones)
    left = (total_steps - step) / (total_steps - warmup)
    return recipe.learning_rate * (left if recipe.schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2)


class Schedule:
    """The learning rate as a run goes on; `state` is all it remembers.

    Args:
        depth: Of the net, for `Recipe.start_from_depth`.
    Attributes:
        needs_errors: Whether `after_step` has an effect; false saves a GPU the wait for each step's count.
        state: JSON-like.
    """

    def __init__(self, recipe: Recipe, *, total_steps: int, depth: int) -> None:
        self._recipe, self._total = recipe, total_steps
        starts = recipe.start_learning_rate > 0 and depth >= recipe.start_from_depth
        self.state: dict[str, Any] = {"starting": starts, "recent": [], "best": None, "waited": 0, "divisions": 0}

    @property
    def needs_errors(self) -> bool:
        return self.state["starting"]

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if self.state["starting"]:
            return self._recipe.start_learning_rate
        return learning_rate_at(self._recipe, step, self._total) * 0.1 ** self.state["divisions"]

    def after_step(self, error_percent: float) -> None:
        """Take in the error of one training batch; ends the start phase once the recent mean is low enough."""
        if not self.state["starting"]:
            return
        recent = [*self.state["recent"], error_percent][-_ERROR_WINDOW:]
        done = len(recent) == _ERROR_WINDOW and sum(recent) / len(recent) < self._recipe.start_until_error_percent
        self.state.update(starting=not done, recent=[] if done else recent)

    def after_look(self, val_error_percent: float) -> bool:
        """Take in a held-out error; True where "plateau" divides the rate now."""
        if self._recipe.schedule != "plateau":
            return False
        if self.state["best"] is None or val_error_percent < self.state["best"]:
            self.state.update(best=val_error_percent, waited=0)
            return False
        waited = self.state["waited"] + 1
        divide = waited >= self._recipe.plateau_patience
        self.state.update(waited=0 if divide else waited, divisions=self.state["divisions"] + divide)
        return divide
