"""Mixup and cutmix: pairs of images become one, and so do their labels."""

from __future__ import annotations

__all__ = ["Mix", "draw_mix", "mix_batch", "mixed_cross_entropy"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resnet_deploy.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """How to mix a batch with itself in reverse order.

    Attributes:
        share: Weight of an image's own label, 0 to 1.
        box: Rows and columns (top, bottom, left, right) taken from the partner, as shares of the height and
            width; None blends all pixels.
    """

    share: float
    box: tuple[float, float, float, float] | None = None


def draw_mix(recipe: Recipe, generator: torch.Generator) -> Mix | None:
    """One draw for a whole batch; None where the recipe does not mix.

    Source: mixup arXiv:1710.09412, section 2; cutmix arXiv:1905.04899, section 3.1. One of the two at random where
    both are on, as in timm and torchvision.
    """
    mixup, cutmix = recipe.mixup_alpha, recipe.cutmix_alpha
    if not mixup and not cutmix:
        return None
    cut = cutmix > 0 and (mixup == 0 or bool(torch.rand((), generator=generator) < 0.5))
    share = _beta(cutmix if cut else mixup, generator)
    if not cut:
        return Mix(share=share)
    half = (1 - share) ** 0.5 / 2
    row, column = torch.rand(2, generator=generator).tolist()
    top, bottom = max(0.0, row - half), min(1.0, row + half)
    left, right = max(0.0, column - half), min(1.0, column + half)
    return Mix(share=share, box=(top, bottom, left, right))


def mix_batch(images: Tensor, mix: Mix) -> tuple[Tensor, float]:
    """Mix [N, 3, H, W] with its reverse order; gives the images and the weight of an image's own label.

    The weight of a cutmix is that of the whole pixels really replaced, not of the box drawn.
    """
    partner = images.flip(0)
    if mix.box is None:
        return torch.lerp(partner, images, mix.share), mix.share
    height, width = images.shape[2:]
    top, bottom, left, right = (
        round(edge * size) for edge, size in zip(mix.box, (height, height, width, width), strict=True)
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partner[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def mixed_cross_entropy(logits: Tensor, labels: Tensor, share: float, *, label_smoothing: float) -> Tensor:
    """Mean loss of [N, K] logits against an image's own label and its partner's, by their weights."""
    own = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if share == 1.0:
        return own
    other = functional.cross_entropy(logits, labels.flip(0), label_smoothing=label_smoothing)
    return share * own + (1 - share) * other


def _beta(alpha: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(2**62, (), generator=generator))  # PyTorch's Beta takes no generator
    return float(np.random.default_rng(seed).beta(alpha, alpha))
