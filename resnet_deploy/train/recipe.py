"""A recipe: every number that shapes a training run, in one frozen object."""

from __future__ import annotations

__all__ = ["SCHEDULES", "Recipe"]

import math
from dataclasses import dataclass

from resnet_deploy.core.errors import ConfigError

SCHEDULES = ("one-cycle", "cosine", "step", "plateau")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """SGD with momentum, a learning-rate schedule, and the random changes made to training images.

    Attributes:
        epochs, steps: Length of the run, by one of the two; the other is 0.
        batch_size: Images per step, over all processes. Batches follow each other without regard to where an
            epoch ends, so every image is used equally often.
        schedule: "one-cycle" (linear to zero), "cosine" (half a cosine to zero), "step" (divided by 10 at each
            milestone) or "plateau" (divided by 10 when the held-out error stops falling); all after the warm-up.
        learning_rate: The highest one.
        warmup_fraction: Share of the steps in which the rate rises linearly from zero.
        milestones: Steps at which "step" divides the rate.
        plateau_patience: Looks at the held-out images without a new best after which "plateau" divides the rate.
        start_learning_rate: Rate until the training error, over the last 100 steps, is below
            `start_until_error_percent`; only for nets of `start_from_depth` or more (the paper's n = 18). 0 for none.
        weight_decay: On every parameter, as in the paper.
        norm_weight_decay: On BN parameters and biases in place of it; None for the same.
        label_smoothing: Share of the target spread over all classes.
        clip_norm: Largest L2 norm of all gradients together; 0 for no limit.
        ema_decay: The weights that are evaluated and written are a moving average over the steps with this decay
            (lower in the first steps: (1 + t) / (10 + t)); 0 for the weights themselves.
        crop_padding_px: Black border added on every side before a crop of the input's size at a random place.
        flip: Mirror half of the images left to right.
        rotate_degrees, scale_fraction: Largest rotation and change of size, drawn uniformly in both directions.
        scale_range_px: Length of the shorter side, drawn uniformly, before a random crop; the paper's (256, 480).
        area_range: Share of the image's area, drawn uniformly, that a crop of random aspect takes.
        pca_colour_std: Standard deviation of the steps along the principal components of colour; the paper's 0.1.
        per_pixel_mean: Subtract the mean training image inside the network, as the paper does.
        mixup_alpha, cutmix_alpha: Of the Beta distributions that mix pairs of images; where both are above 0,
            every batch takes one of the two at random.
        evaluate_every: Epochs between two looks at the held-out images; the end is always looked at.
    """

    name: str
    batch_size: int
    schedule: str
    learning_rate: float
    momentum: float
    weight_decay: float
    epochs: int = 0
    steps: int = 0
    warmup_fraction: float = 0.0
    milestones: tuple[int, ...] = ()
    plateau_patience: int = 0
    start_learning_rate: float = 0.0
    start_until_error_percent: float = 0.0
    start_from_depth: int = 0
    nesterov: bool = True
    norm_weight_decay: float | None = None
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    crop_padding_px: int = 0
    flip: bool = False
    rotate_degrees: float = 0.0
    scale_fraction: float = 0.0
    scale_range_px: tuple[int, ...] = ()
    area_range: tuple[float, ...] = ()
    pca_colour_std: float = 0.0
    per_pixel_mean: bool = False
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        checks = (*self._length_checks(), *self._rate_checks(), *self._image_checks())
        problems = [f"{key} is {getattr(self, key)!r}, expected {want}" for good, key, want in checks if not good]
        if self.scale_range_px and self.area_range:
            problems.append("scale_range_px and area_range are both given, expected one way to crop at most")
        if problems:
            raise ConfigError(f"recipe {self.name!r}: " + "; ".join(problems), remedy="correct the named values")

    def _length_checks(self) -> tuple[tuple[bool, str, str], ...]:
        return (
            (self.epochs >= (0 if self.steps else 1), "epochs", "at least 1 (or 0 where steps are given)"),
            (self.steps >= 0, "steps", "0 (epochs count) or more"),
            (not (self.epochs and self.steps), "steps", f"0 where epochs are given (here {self.epochs})"),
            (self.batch_size >= 2, "batch_size", "at least 2 (batch normalisation needs two images)"),
            (self.evaluate_every >= 1, "evaluate_every", "at least 1"),
        )

    def _rate_checks(self) -> tuple[tuple[bool, str, str], ...]:
        starts = self.start_learning_rate > 0
        return (
            (self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}"),
            (0 < self.learning_rate < math.inf, "learning_rate", "above 0 and finite"),
            (0 <= self.momentum < 1, "momentum", "from 0 to below 1"),
            (not self.nesterov or self.momentum > 0, "nesterov", "false where momentum is 0"),
            (0 <= self.weight_decay < math.inf, "weight_decay", "0 or more"),
            (self.norm_weight_decay is None or self.norm_weight_decay >= 0, "norm_weight_decay", "0 or more"),
            (0 <= self.warmup_fraction < 1, "warmup_fraction", "from 0 to below 1"),
            (all(m > 0 for m in self.milestones), "milestones", "positive step numbers"),
            (not self.milestones or self.schedule == "step", "milestones", "empty unless schedule is 'step'"),
            ((self.plateau_patience > 0) == (self.schedule == "plateau"), "plateau_patience",
             "at least 1 where schedule is 'plateau', else 0"),
            (0 <= self.start_learning_rate < math.inf, "start_learning_rate", "0 (none) or more"),
            (not starts or 0 < self.start_until_error_percent <= 100, "start_until_error_percent",
             "above 0 and up to 100 where start_learning_rate is given"),
            (self.start_from_depth >= 0, "start_from_depth", "0 or more"),
            (0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1"),
            (0 <= self.clip_norm < math.inf, "clip_norm", "0 (no limit) or more"),
            (0 <= self.ema_decay < 1, "ema_decay", "from 0 (none) to below 1"),
        )  # fmt: skip

    def _image_checks(self) -> tuple[tuple[bool, str, str], ...]:
        scale, area = self.scale_range_px, self.area_range
        return (
            (self.crop_padding_px >= 0, "crop_padding_px", "0 or more"),
            (0 <= self.rotate_degrees <= 180, "rotate_degrees", "from 0 to 180"),
            (0 <= self.scale_fraction < 1, "scale_fraction", "from 0 to below 1"),
            (not scale or (len(scale) == 2 and 1 <= scale[0] <= scale[1]), "scale_range_px", "[lowest, highest]"),
            (not area or (len(area) == 2 and 0 < area[0] <= area[1] <= 1), "area_range",
             "[lowest, highest] shares above 0 and up to 1"),
            (self.pca_colour_std >= 0, "pca_colour_std", "0 or more"),
            (0 <= self.mixup_alpha < math.inf, "mixup_alpha", "0 or more"),
            (0 <= self.cutmix_alpha < math.inf, "cutmix_alpha", "0 or more"),
        )  # fmt: skip
