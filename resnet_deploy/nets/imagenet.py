"""ImageNet residual networks: option B shortcuts, v1.5 strides, torchvision's state-dict keys.

Source: arXiv:1512.03385, Table 1; torchvision for the keys and the place of the stride.
"""

from __future__ import annotations

__all__ = ["ImageNetResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

from torch import Tensor, nn

from resnet_deploy.nets.blocks import BasicBlock, Bottleneck, initialize, projection_shortcut

_WIDTHS = (64, 128, 256, 512)


class ImageNetResNet(nn.Module):
    """7x7/2 stem, 3x3/2 max-pool, four stages, global average pool, classifier.

    Args:
        block: Residual block of every stage.
        num_blocks: Blocks in each of the four stages.
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], num_blocks: tuple[int, int, int, int], *, num_classes: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        in_channels = 64
        for index, (width, count) in enumerate(zip(_WIDTHS, num_blocks, strict=True)):
            stage = _stage(block, in_channels, width, count, stride=1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", stage)
            in_channels = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, num_classes]; H, W any multiple of 32 from 32 up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, width: int, count: int, *, stride: int
) -> nn.Sequential:
    out_channels = width * block.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = projection_shortcut(in_channels, out_channels, stride=stride)
    blocks = [block(in_channels, width, stride=stride, shortcut=shortcut)]
    blocks += [block(out_channels, width, stride=1, shortcut=None) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def resnet18(*, num_classes: int = 1000) -> ImageNetResNet:
    """ResNet-18: basic blocks 2, 2, 2, 2."""
    return ImageNetResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes)


def resnet34(*, num_classes: int = 1000) -> ImageNetResNet:
    """ResNet-34: basic blocks 3, 4, 6, 3."""
    return ImageNetResNet(BasicBlock, (3, 4, 6, 3), num_classes=num_classes)


def resnet50(*, num_classes: int = 1000) -> ImageNetResNet:
    """ResNet-50: bottleneck blocks 3, 4, 6, 3."""
    return ImageNetResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes)


def resnet101(*, num_classes: int = 1000) -> ImageNetResNet:
    """ResNet-101: bottleneck blocks 3, 4, 23, 3."""
    return ImageNetResNet(Bottleneck, (3, 4, 23, 3), num_classes=num_classes)


def resnet152(*, num_classes: int = 1000) -> ImageNetResNet:
    """ResNet-152: bottleneck blocks 3, 8, 36, 3."""
    return ImageNetResNet(Bottleneck, (3, 8, 36, 3), num_classes=num_classes)
