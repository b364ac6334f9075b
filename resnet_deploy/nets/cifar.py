"""CIFAR nets of depth 6n+2, residual and plain: three stages of n basic blocks.

Source: arXiv:1512.03385, section 4.2 and Table 6.
"""

from __future__ import annotations

__all__ = ["CifarResNet", "cifar_resnet"]

from torch import Tensor, nn
from torch.nn import functional

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.blocks import BasicBlock, make_stage
from resnet_deploy.nets.initialization import initialize

_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """3x3 stem, three stages of `num_blocks` basic blocks at 16, 32 and 64 channels, average pool, classifier.

    `center` passes its input through until `mean_image.attach_mean_image` puts a mean image there.

    Args:
        num_blocks: n of 6n+2.
        num_classes: Outputs of the classifier.
        shortcut: The paper's option, one of `shortcuts.SHORTCUTS`.
    """

    def __init__(self, num_blocks: int, *, num_classes: int, shortcut: str = "A") -> None:
        super().__init__()
        self.center = nn.Identity()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        in_channels = 16
        for index, width in enumerate(_WIDTHS):
            stride = 1 if index == 0 else 2
            stage = make_stage(BasicBlock, in_channels, width, num_blocks, stride=stride, shortcut=shortcut)
            self.add_module(f"layer{index + 1}", stage)
            in_channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, num_classes]; the paper's H = W = 32."""
        x = self.center(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def cifar_resnet(depth: int, *, num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """The net of that depth, e.g. 20, 32, 44, 56, 110, 1202; with shortcut "none" the plain one.

    Raises:
        ConfigError: depth is not 6n+2 for a whole n >= 1.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        below = max(8, depth - rest)
        raise ConfigError(f"CIFAR depth {depth} is not 6n+2 with n >= 1", remedy=f"take {below} or {below + 6}")
    return CifarResNet(blocks, num_classes=num_classes, shortcut=shortcut)
