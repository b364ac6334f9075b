"""Building blocks, basic and bottleneck, residual or plain, and the stage that stacks them.

ReLU and the addition work in place: what they overwrite (the outputs of BN) is read by nobody else, neither
forward nor backward, and a training step saves their allocations.

Shapes by legend: N batch, C channels, H, W rows and columns.
Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, sections 3.2, 3.3 and 4.1.
"""

from __future__ import annotations

__all__ = ["VARIANTS", "BasicBlock", "Bottleneck", "make_stage"]

from torch import Tensor, nn
from torch.nn import functional

from resnet_deploy.nets.shortcuts import make_shortcut

VARIANTS = ("v1", "v1.5", "v1-caffe")
"""Forms of a bottleneck net. v1: the stride in the first 1x1, as in the paper. v1.5: in the 3x3, torchvision's
network, more accurate, 231,211,008 more multiply-adds at 224 px. v1-caffe: v1 with the pooling and the input of
the original Caffe models."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut: y = relu(F(x) + shortcut(x)); Fig. 5 left.

    Args:
        width: Channels of both convolutions; the block's output has as many.
        shortcut: Module from x to the shape of F(x); None where x has it already.
        is_residual: False gives the plain net's pair of layers, y = relu(F(x)).
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        shortcut: nn.Module | None,
        is_residual: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut
        self.is_residual = is_residual

    @property
    def last_batch_norm(self) -> nn.BatchNorm2d:
        """Of the residual branch: at gamma = beta = 0 the block is its shortcut."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)]."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.is_residual:
            y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and the shortcut: y = relu(F(x) + shortcut(x)); Fig. 5 right.

    Args:
        width: Channels of the first two convolutions; the block's output has 4 * width.
        shortcut: Module from x to the shape of F(x); None where x has it already.
        is_residual: False gives the plain net's three layers, y = relu(F(x)).
        variant: Where the stride is; one of `VARIANTS`.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        shortcut: nn.Module | None,
        is_residual: bool = True,
        variant: str = "v1.5",
    ) -> None:
        super().__init__()
        first, second = (1, stride) if variant == "v1.5" else (stride, 1)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = shortcut
        self.is_residual = is_residual

    @property
    def last_batch_norm(self) -> nn.BatchNorm2d:
        """Of the residual branch: at gamma = beta = 0 the block is its shortcut."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, 4 * width, ceil(H / stride), ceil(W / stride)]."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.is_residual:
            y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


def make_stage(
    block: type[BasicBlock | Bottleneck],
    in_channels: int,
    width: int,
    num_blocks: int,
    *,
    stride: int,
    shortcut: str,
    variant: str = "v1.5",
) -> nn.Sequential:
    """`num_blocks` blocks of one width; the first has `stride` and takes the step from `in_channels`.

    Args:
        shortcut: One of `shortcuts.SHORTCUTS`.
        variant: One of `VARIANTS`; a basic block has one place for its stride, so it is the same in all of them.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}, expected one of {', '.join(VARIANTS)}")
    out_channels = width * block.expansion
    form = {"variant": variant} if issubclass(block, Bottleneck) else {}
    blocks = []
    for index in range(num_blocks):
        channels, step = (in_channels, stride) if index == 0 else (out_channels, 1)
        blocks.append(
            block(
                channels,
                width,
                stride=step,
                shortcut=make_shortcut(shortcut, channels, out_channels, stride=step),
                is_residual=shortcut != "none",
                **form,
            )
        )
    return nn.Sequential(*blocks)
