"""One pass over the training images, and one look at the held-out ones."""

from __future__ import annotations

__all__ = ["EpochResult", "error_percent", "train_epoch"]

import math
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from resnet_deploy.core.errors import TrainError
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.train.augment import augment, normalize_batch
from resnet_deploy.train.recipe import Recipe, learning_rate_at
from resnet_deploy.train.sets import LoadedImages

_EVALUATION_BATCH = 256
_SEEDS_PER_RUN = 1_000_003  # above any number of epochs, so that two runs' epochs share no seed


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochResult:
    """What one pass measured, on the augmented images as they were trained on.

    Attributes:
        loss: Mean over the steps, label smoothing included.
        learning_rate: Of the last step.
    """

    num_steps: int
    loss: float
    error_percent: float
    learning_rate: float
    images_per_second: float


def train_epoch(
    net: nn.Module,
    optimizer: torch.optim.SGD,
    images: LoadedImages,
    *,
    recipe: Recipe,
    preprocess: Preprocess,
    seed: int,
    epoch: int,
    first_step: int,
    total_steps: int,
    progress: Progress,
) -> EpochResult:
    """Train on every image once, in an order and with augmentations drawn from (seed, epoch).

    Args:
        epoch: Counted from 0.
        first_step: Steps done before; the pass ends early where `total_steps` is reached.
    Raises:
        TrainError: The loss is not finite; says where.
    """
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(seed * _SEEDS_PER_RUN + epoch)
    order = torch.randperm(len(images), generator=generator)
    batches = [batch for batch in order.split(recipe.batch_size) if len(batch) == recipe.batch_size] or [order]
    batches = batches[: total_steps - first_step]
    check_every = 1 if device.type == "cpu" else 16  # reading a loss makes the host wait for a GPU
    losses: list[float] = []
    unread: list[torch.Tensor] = []
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    rate, trained, started = 0.0, 0, time.perf_counter()
    net.train()
    for index, batch in enumerate(batches):
        rate = learning_rate_at(recipe, first_step + index, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixels = images.pixels[batch.to(images.pixels.device)].to(device)
        labels = images.labels[batch].to(device)
        logits = net(augment(pixels, recipe, preprocess, generator))
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        trained += len(batch)
        unread.append(loss.detach())
        wrong += (logits.detach().argmax(1) != labels).sum()
        if len(unread) == check_every or index + 1 == len(batches):
            losses += torch.stack(unread).tolist()
            _check_finite(losses, epoch=epoch, first_step=first_step, total_steps=total_steps, recipe=recipe)
            speed = trained / (time.perf_counter() - started)
            note = f"loss {losses[-1]:.3f}  lr {rate:.4f}  {speed:,.0f} img/s"
            progress.advance(len(unread), note=note)
            unread = []
    return EpochResult(
        num_steps=len(batches),
        loss=sum(losses) / len(losses),
        error_percent=100 * int(wrong) / trained,
        learning_rate=rate,
        images_per_second=trained / (time.perf_counter() - started),
    )


@torch.inference_mode()
def error_percent(net: nn.Module, images: LoadedImages, preprocess: Preprocess) -> float:
    """Top-1 error of `net` in evaluation mode on unchanged images."""
    device = next(net.parameters()).device
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    net.eval()
    for start in range(0, len(images), _EVALUATION_BATCH):
        span = slice(start, start + _EVALUATION_BATCH)
        pixels = images.pixels[span].to(device).permute(0, 3, 1, 2).float()
        logits = net(normalize_batch(pixels, preprocess))
        wrong += (logits.argmax(1) != images.labels[span].to(device)).sum()
    return 100 * int(wrong) / len(images)


def _check_finite(losses: list[float], *, epoch: int, first_step: int, total_steps: int, recipe: Recipe) -> None:
    bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is None:
        return
    step = first_step + bad
    raise TrainError(
        f"the loss is {losses[bad]} in epoch {epoch + 1}, step {step + 1} of {total_steps}, at learning rate "
        f"{learning_rate_at(recipe, step, total_steps):.4g}; the last good state and any earlier checkpoint are kept",
        remedy=f"train with a lower peak rate than {recipe.learning_rate:g} (--lr), or a longer warm-up "
        "(--set warmup_fraction=0.3)",
    )
