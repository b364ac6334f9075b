"""ImageNet nets, residual and plain, with torchvision's state-dict keys.

Two levels: `ImageNetResNet` takes blocks and their counts; a named size is one call with the paper's numbers.
A plain net is the residual one with shortcut "none".

Source: arXiv:1512.03385, Table 1 and Fig. 3; torchvision for the keys and for v1.5; the prototxt files of the
original release (github.com/KaimingHe/deep-residual-networks) for v1-caffe.
"""

from __future__ import annotations

__all__ = ["ImageNetResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

from torch import Tensor, nn

from resnet_deploy.nets.blocks import BasicBlock, Bottleneck, make_stage
from resnet_deploy.nets.initialization import initialize

_WIDTHS = (64, 128, 256, 512)


class ImageNetResNet(nn.Module):
    """7x7/2 stem, 3x3/2 max-pool, four stages, global average pool, classifier.

    `center` passes its input through until `mean_image.attach_mean_image` puts a mean image there.

    Args:
        block: Block of every stage.
        num_blocks: Blocks in each of the four stages.
        num_classes: Outputs of the classifier.
        shortcut: The paper's option, one of `shortcuts.SHORTCUTS`.
        variant: One of `blocks.VARIANTS`. "v1-caffe" also pools as Caffe does: without padding, its output size
            rounded up. Both ways give H / 4 wherever conv1's output is even, but the windows lie one pixel
            apart, so weights of one do not serve the other.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        num_blocks: tuple[int, int, int, int],
        *,
        num_classes: int,
        shortcut: str = "B",
        variant: str = "v1.5",
    ) -> None:
        super().__init__()
        self.center = nn.Identity()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        is_caffe = variant == "v1-caffe"
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=0 if is_caffe else 1, ceil_mode=is_caffe)
        in_channels = 64
        for index, (width, count) in enumerate(zip(_WIDTHS, num_blocks, strict=True)):
            stride = 1 if index == 0 else 2
            stage = make_stage(block, in_channels, width, count, stride=stride, shortcut=shortcut, variant=variant)
            self.add_module(f"layer{index + 1}", stage)
            in_channels = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, num_classes]; H, W any multiple of 32 from 32 up."""
        x = self.center(x)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(*, num_classes: int = 1000, shortcut: str = "B") -> ImageNetResNet:
    """ResNet-18: basic blocks 2, 2, 2, 2."""
    return ImageNetResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, shortcut=shortcut)


def resnet34(*, num_classes: int = 1000, shortcut: str = "B") -> ImageNetResNet:
    """ResNet-34: basic blocks 3, 4, 6, 3."""
    return ImageNetResNet(BasicBlock, (3, 4, 6, 3), num_classes=num_classes, shortcut=shortcut)


def resnet50(*, num_classes: int = 1000, shortcut: str = "B", variant: str = "v1.5") -> ImageNetResNet:
    """ResNet-50: bottleneck blocks 3, 4, 6, 3."""
    return ImageNetResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes, shortcut=shortcut, variant=variant)


def resnet101(*, num_classes: int = 1000, shortcut: str = "B", variant: str = "v1.5") -> ImageNetResNet:
    """ResNet-101: bottleneck blocks 3, 4, 23, 3."""
    return ImageNetResNet(Bottleneck, (3, 4, 23, 3), num_classes=num_classes, shortcut=shortcut, variant=variant)


def resnet152(*, num_classes: int = 1000, shortcut: str = "B", variant: str = "v1.5") -> ImageNetResNet:
    """ResNet-152: bottleneck blocks 3, 8, 36, 3."""
    return ImageNetResNet(Bottleneck, (3, 8, 36, 3), num_classes=num_classes, shortcut=shortcut, variant=variant)
