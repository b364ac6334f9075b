"""Averaging what a network says: over views of an image, over positions of a score map, over networks.

What is averaged is always the softmax, never the logits: each view votes with a probability, so that a view whose
logits happen to be large does not outvote the others. The mean goes out as its logarithm, which is what every file
of the chain calls logits: its softmax is the mean itself, and its largest entry is the same class.
"""

from __future__ import annotations

__all__ = ["Ensemble", "TenCrop", "log_mean_softmax"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def log_mean_softmax(logits: Tensor, *, classes: int, over: int | tuple[int, ...]) -> Tensor:
    """log(mean(softmax(logits))), finite for finite logits however far they are apart.

    m + log(mean(exp(log_softmax - m))) with m the largest log-probability of a class over the views: at least
    one term of the mean is then 1, where the mean of the probabilities themselves may underflow to log(0).

    Args:
        logits: Any shape, floating point.
        classes: Axis of the classes.
        over: Axis or axes to average; they are removed.
    """
    chosen = logits.log_softmax(dim=classes)
    peak = chosen.amax(dim=over, keepdim=True)
    mean = (chosen - peak).exp().mean(dim=over)
    return mean.log() + peak.reshape(mean.shape)


class Ensemble(nn.Module):
    """Several networks that see the same input; an ensemble of one is that network."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not self.members:
            raise ValueError("an ensemble needs a member")

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> log of the mean softmax [N, K]; of one member its logits."""
        if len(self.members) == 1:
            return self.members[0](x)
        return log_mean_softmax(torch.stack([member(x) for member in self.members]), classes=2, over=0)


class TenCrop(nn.Module):
    """Four corners and the centre, each also mirrored; the centre's offsets are rounded half to even.

    Args:
        height_px, width_px: Input of `net`.
    Source: arXiv:1512.03385, section 3.4 (10-crop testing, after Krizhevsky et al. 2012); softmax averaged as in
        the authors' release.
    """

    def __init__(self, net: nn.Module, *, height_px: int, width_px: int) -> None:
        super().__init__()
        self.net, self.height_px, self.width_px = net, height_px, width_px

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] with H >= height_px and W >= width_px -> log of the mean softmax [N, K]."""
        bottom, right = x.shape[2] - self.height_px, x.shape[3] - self.width_px
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
        crops = [x[:, :, top : top + self.height_px, left : left + self.width_px] for top, left in corners]
        crops += [crop.flip(3) for crop in crops]
        return log_mean_softmax(torch.stack([self.net(crop) for crop in crops]), classes=2, over=0)
