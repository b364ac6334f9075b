"""Random changes to a batch of training images, all images at once, on the device that trains.

The numbers are drawn apart from their use, for the whole batch of all processes, so that an image is changed in the
same way whichever process has it.
"""

from __future__ import annotations

__all__ = ["Augmentation", "augment", "crop_and_flip", "draw_augmentation", "normalize_batch", "rotate_and_scale"]

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.train.colour import colour_offsets
from resnet_deploy.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What to do to each image of a batch; None leaves a change out.

    Attributes:
        offsets: [N, 2] int64 rows and columns of the crop, 0 to 2 * padding.
        mirrored: [N] bool.
        angles: [N] float32 in radians.
        scales: [N] float32.
        colour: [N, 3] float32 added to R, G, B, in units of pixel / 255.
    """

    offsets: Tensor | None = None
    mirrored: Tensor | None = None
    angles: Tensor | None = None
    scales: Tensor | None = None
    colour: Tensor | None = None

    def part(self, span: slice) -> Augmentation:
        """Of some of the images."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Augmentation(**{name: None if v is None else v[span] for name, v in values.items()})


def draw_augmentation(recipe: Recipe, count: int, generator: torch.Generator) -> Augmentation:
    """Draw for a batch of `count` images what `recipe` asks for."""
    pad = recipe.crop_padding_px
    offsets = torch.randint(0, 2 * pad + 1, (count, 2), generator=generator) if pad else None
    mirrored = torch.rand(count, generator=generator) < 0.5 if recipe.flip else None
    angles = scales = None
    if recipe.rotate_degrees or recipe.scale_fraction:
        draws = torch.rand(count, 2, generator=generator) * 2 - 1
        angles = draws[:, 0] * math.radians(recipe.rotate_degrees)
        scales = 1 + draws[:, 1] * recipe.scale_fraction
    colour = None
    if recipe.pca_colour_std:
        colour = colour_offsets(torch.randn(count, 3, generator=generator) * recipe.pca_colour_std)
    return Augmentation(offsets=offsets, mirrored=mirrored, angles=angles, scales=scales, colour=colour)


def augment(pixels: Tensor, draws: Augmentation, preprocess: Preprocess, *, pad: int) -> Tensor:
    """Training pixels [N, H, W, 3] uint8 -> network input [N, 3, H, W] float32, channels last in memory.

    Args:
        pad: The recipe's `crop_padding_px`, for which the offsets were drawn.
    """
    if draws.offsets is not None or draws.mirrored is not None:
        pixels = crop_and_flip(pixels, draws.offsets, draws.mirrored, pad=pad)
    images = pixels.permute(0, 3, 1, 2).float()
    if draws.angles is not None and draws.scales is not None:
        images = rotate_and_scale(images, draws.angles, draws.scales)
    if draws.colour is not None:
        images = images + 255 * draws.colour.to(images.device)[:, :, None, None]
    return normalize_batch(images, preprocess)


def crop_and_flip(pixels: Tensor, offsets: Tensor | None, mirrored: Tensor | None, *, pad: int) -> Tensor:
    """Add a black border of `pad`, cut a window of the old size at each image's offset, mirror where asked.

    Args:
        pixels: [N, H, W, 3] uint8.
        offsets: [N, 2] rows and columns from the bordered image's corner, 0 to 2 * pad; None for no crop.
        mirrored: [N] bool; None for no mirroring.
    """
    count, height, width, _ = pixels.shape
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    if offsets is not None:
        pixels = functional.pad(pixels, (0, 0, pad, pad, pad, pad))
        rows, columns = rows + offsets[:, :1], columns + offsets[:, 1:]
    # Whole pixels by one flat index: a quarter of the time of indexing by image, row and column.
    places = torch.arange(count)[:, None] * pixels.shape[1] + rows
    places = places[:, :, None] * pixels.shape[2] + columns[:, None, :]
    chosen = pixels.reshape(-1, 3).index_select(0, places.flatten().to(pixels.device))
    return chosen.view(count, height, width, 3)


def rotate_and_scale(images: Tensor, angles: Tensor, scales: Tensor) -> Tensor:
    """Turn each image about its centre by its angle (radians) and enlarge it by its scale; black outside.

    Args:
        images: [N, 3, H, W] float32 with black = 0.
        angles, scales: [N].
    """
    aspect = images.shape[3] / images.shape[2]
    cos, sin, zero = torch.cos(angles) / scales, torch.sin(angles) / scales, torch.zeros_like(angles)
    rows = [torch.stack([cos, -sin / aspect, zero], 1), torch.stack([sin * aspect, cos, zero], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1).to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def normalize_batch(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Pixels [N, 3, H, W] float32 of 0 to 255 -> (x / 255 - mean) / std, channels last in memory."""
    mean = torch.tensor(preprocess.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(preprocess.std, device=images.device).view(3, 1, 1)
    return (images / 255).sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
