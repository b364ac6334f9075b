"""Random changes to a batch of training images, all images at once, on the device that trains."""

from __future__ import annotations

__all__ = ["augment", "crop_and_flip", "normalize_batch", "rotate_and_scale"]

import math

import torch
from torch import Tensor
from torch.nn import functional

from resnet_deploy.core.specs import Preprocess
from resnet_deploy.train.recipe import Recipe


def augment(pixels: Tensor, recipe: Recipe, preprocess: Preprocess, generator: torch.Generator) -> Tensor:
    """Training pixels [N, H, W, 3] uint8 -> network input [N, 3, H, W] float32, channels last in memory.

    Args:
        generator: On the CPU, so that every device draws the same numbers.
    """
    count, pad = len(pixels), recipe.crop_padding_px
    offsets = torch.randint(0, 2 * pad + 1, (count, 2), generator=generator) if pad else None
    mirrored = torch.rand(count, generator=generator) < 0.5 if recipe.flip else None
    if offsets is not None or mirrored is not None:
        pixels = crop_and_flip(pixels, offsets, mirrored, pad=pad)
    images = pixels.permute(0, 3, 1, 2).float()
    if recipe.rotate_degrees or recipe.scale_fraction:
        draws = torch.rand(count, 2, generator=generator) * 2 - 1
        angles = draws[:, 0] * math.radians(recipe.rotate_degrees)
        images = rotate_and_scale(images, angles, 1 + draws[:, 1] * recipe.scale_fraction)
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
    index = torch.arange(count, device=pixels.device)[:, None, None]
    return pixels[index, rows.to(pixels.device)[:, :, None], columns.to(pixels.device)[:, None, :]]


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
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
