"""CIFAR residual networks of depth 6n+2: three stages of n basic blocks, option A shortcuts.

Source: arXiv:1512.03385, section 4.2 and Table 6.
"""

from __future__ import annotations

__all__ = ["CifarResNet", "cifar_resnet"]

from torch import Tensor, nn
from torch.nn import functional

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.blocks import BasicBlock, ZeroPadShortcut, initialize

_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """3x3 stem, three stages of `num_blocks` basic blocks at 16, 32 and 64 channels, average pool, classifier.

    Args:
        num_blocks: n of 6n+2.
        num_classes: Outputs of the classifier.
    """

    def __init__(self, num_blocks: int, *, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        in_channels = 16
        for index, width in enumerate(_WIDTHS):
            stride = 1 if index == 0 else 2
            shortcut = None if index == 0 else ZeroPadShortcut(in_channels, width, stride=stride)
            blocks = [BasicBlock(in_channels, width, stride=stride, shortcut=shortcut)]
            blocks += [BasicBlock(width, width, stride=1, shortcut=None) for _ in range(num_blocks - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            in_channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, num_classes]; the paper's H = W = 32."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def cifar_resnet(depth: int, *, num_classes: int = 10) -> CifarResNet:
    """The net of that depth, e.g. 20, 32, 44, 56, 110, 1202.

    Raises:
        ConfigError: depth is not 6n+2 for a whole n >= 1.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        below = max(8, depth - rest)
        raise ConfigError(
            f"CIFAR ResNet depth {depth} is not 6n+2 with n >= 1", remedy=f"take {below} or {below + 6}, for example"
        )
    return CifarResNet(blocks, num_classes=num_classes)
