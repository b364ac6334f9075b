"""Batch-norm statistics as one average over many images, in the place of training's moving average.

The original release computed its statistics so, after training: "strictly computed using average (not moving
average) on a sufficiently large training batch". Weights that were averaged (SWA, EMA), or that come from a
framework with another moving average, need it too.
"""

from __future__ import annotations

__all__ = ["recompute_bn_statistics"]

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_deploy.core.errors import ConfigError


@dataclass(slots=True)
class _Pool:
    """Count, mean and sum of squared deviations of everything seen, per channel, in float64."""

    count: int
    mean: Tensor
    squares: Tensor

    def add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Join the moments of one batch (Chan, Golub and LeVeque, 1983: no cancellation)."""
        total = self.count + count
        delta = mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.squares = self.squares + squares + delta**2 * (self.count * count / total)
        self.count = total


@torch.no_grad()
def recompute_bn_statistics(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace every batch norm's running mean and variance by those of `batches`, in place.

    Every value of every image weighs the same, whatever the sizes of the batches, and the variance counts the
    spread between batches too, so a layer's statistics are those of all its inputs taken as one batch. (Each
    batch is normalised by its own statistics on its way, as in training, so deep layers depend a little on the
    batch size: take it as large as in training, or larger.) Modes and momenta are as before afterwards; after
    an error, so are the statistics.

    Args:
        net: On the device of the batches; everything but its batch norms runs in evaluation mode.
        batches: Network inputs [N, C, H, W].
    Returns:
        The number of images seen.
    Raises:
        ConfigError: `net` has no batch norm with running statistics, or there were no images.
    Source: github.com/KaimingHe/deep-residual-networks, README, "Disclaimer and known issues".
    """
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise ConfigError("the net has no batch norm with running statistics", remedy="leave their recomputation away")
    before = [(norm, norm.momentum, {k: v.clone() for k, v in norm.named_buffers()}) for norm in norms]
    modes = [(module, module.training) for module in net.modules()]
    pools: dict[_BatchNorm, _Pool] = {}
    hooks = [norm.register_forward_hook(_collector(pools)) for norm in norms]
    num_images = num_batches = 0
    try:
        net.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # the running statistics after a batch are those of this batch
        for images in batches:
            net(images)
            num_images, num_batches = num_images + len(images), num_batches + 1
        if not num_images:
            raise ConfigError("there were no images to compute batch-norm statistics from", remedy="give some images")
        for norm, pool in pools.items():
            norm.running_mean.copy_(pool.mean)
            norm.running_var.copy_(pool.squares / (pool.count - 1))
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.fill_(num_batches)
    except BaseException:
        for norm, _, buffers in before:
            for name, value in buffers.items():
                getattr(norm, name).copy_(value)
        raise
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum, _ in before:
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    return num_images


def _collector(pools: dict[_BatchNorm, _Pool]):
    def collect(norm: _BatchNorm, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        count = inputs[0].numel() // inputs[0].shape[1]
        mean, squares = norm.running_mean.double(), norm.running_var.double() * (count - 1)  # torch's is unbiased
        if norm in pools:
            pools[norm].add(count, mean, squares)
        else:
            pools[norm] = _Pool(count=count, mean=mean, squares=squares)

    return collect
