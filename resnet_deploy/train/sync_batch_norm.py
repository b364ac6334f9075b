"""Batch normalisation over the images of all processes of a job.

PyTorch's `nn.SyncBatchNorm` computes on GPUs only; `SyncBatchNorm2d` is the same arithmetic from plain tensor
operations, so that a job on processors trains the same network, and so that the rule can be tested without a GPU.
"""

from __future__ import annotations

__all__ = ["SyncBatchNorm2d", "with_sync_batch_norm"]

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def with_sync_batch_norm(net: nn.Module, device: torch.device) -> nn.Module:
    """`net` with every `nn.BatchNorm2d` in a form that normalises over all processes; same parameters, same keys."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, SyncBatchNorm2d.of(child))
    return net


class SyncBatchNorm2d(_BatchNorm):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes' images together.

    Mean and variance come from two exchanges, so that the variance is a sum of squared differences, as in a single
    process, and loses no digits where the mean is large. In evaluation, and outside of a job, it is BatchNorm2d.

    Source: Ioffe & Szegedy, arXiv:1502.03167, algorithm 1; running variance unbiased, as in PyTorch.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
        """Take over the parameters and statistics of `norm`."""
        own = cls(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
        )
        own.weight, own.bias = norm.weight, norm.bias
        own.running_mean, own.running_var = norm.running_mean, norm.running_var
        own.num_batches_tracked, own.training = norm.num_batches_tracked, norm.training
        return own

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected [N, C, H, W], got {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape; N may differ between the processes."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        self._check_input_dim(input)
        values = input if input.dtype == torch.float64 else input.float()  # BN stays in float32 under autocast
        counts = values.new_full((1,), values.numel() / values.shape[1])
        sums = _SumOverProcesses.apply(torch.cat([values.sum((0, 2, 3)), counts]))
        count = sums[-1].detach()
        centred = values - _by_channel(sums[:-1] / count)
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._move_running_stats((sums[:-1] / count).detach(), variance.detach(), count)
        normal = centred * _by_channel(torch.rsqrt(variance + self.eps))
        if self.affine:
            normal = normal * _by_channel(self.weight) + _by_channel(self.bias)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _move_running_stats(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of every process's tensor; a sum's gradient is the sum of the gradients that every process has for it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _by_channel(values: Tensor) -> Tensor:
    return values[None, :, None, None]
