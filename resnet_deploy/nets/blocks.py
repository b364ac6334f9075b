"""Residual building blocks: basic and bottleneck, with the paper's shortcut options A and B.

Shapes by legend: N batch, C channels, H, W rows and columns.
Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, sections 3.2, 3.3, 4.1.
"""

from __future__ import annotations

__all__ = ["BasicBlock", "Bottleneck", "ZeroPadShortcut"]

import torch
from torch import Tensor, nn
from torch.nn import functional


class ZeroPadShortcut(nn.Module):
    """Option A: subsample by `stride`, then add zero channels half before and half after; no parameters.

    The paper leaves open where the zero channels go; half and half is what the widely used CIFAR
    implementations do, so their weights load as they are.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(f"option A can not shrink {in_channels} channels to {out_channels}")
        self.stride = stride
        added = out_channels - in_channels
        self.padding = (added // 2, added - added // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, ceil(H / stride), ceil(W / stride)]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, *self.padding))


def projection_shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """Option B's shortcut where shapes differ: 1x1 convolution with `stride`, then BN (torchvision's keys "0", "1")."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut: y = relu(F(x) + shortcut(x)); Fig. 5 left.

    Args:
        width: Channels of both convolutions; the block's output has as many.
        shortcut: Module from x to the shape of F(x); None where x has it already.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)]."""
        identity = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + identity)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and the shortcut; Fig. 5 right, with the stride in the 3x3 (v1.5).

    The paper strides the first 1x1 (v1). v1.5 is torchvision's network: more accurate, 231,211,008 more
    multiply-adds at 224 px.

    Args:
        width: Channels of the first two convolutions; the block's output has 4 * width.
        shortcut: Module from x to the shape of F(x); None where x has it already.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, 4 * width, ceil(H / stride), ceil(W / stride)]."""
        identity = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + identity)


def initialize(module: nn.Module) -> None:
    """He initialisation of every convolution (fan out, ReLU gain), BN at gamma 1 and beta 0.

    Source: He et al., arXiv:1502.01852, section 2.2; used by the paper, section 3.4.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(child, nn.BatchNorm2d):
            torch.nn.init.ones_(child.weight)
            torch.nn.init.zeros_(child.bias)
