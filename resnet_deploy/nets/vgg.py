"""VGG-16 and VGG-19, the reference nets of the paper, with torchvision's state-dict keys.

Source: Simonyan and Zisserman, arXiv:1409.1556, Table 1, columns D and E; batch normalisation as in torchvision.
"""

from __future__ import annotations

__all__ = ["VGG", "vgg16", "vgg19"]

import torch
from torch import Tensor, nn

from resnet_deploy.nets.initialization import initialize

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by a 2x2/2 max-pool, then three linear layers.

    `center` passes its input through until `mean_image.attach_mean_image` puts a mean image there.

    Args:
        num_convs: Convolutions in each of the five stages.
        num_classes: Outputs of the last layer.
        batch_norm: Whether BN follows every convolution.
    """

    def __init__(self, num_convs: tuple[int, int, int, int, int], *, num_classes: int, batch_norm: bool) -> None:
        super().__init__()
        self.center = nn.Identity()
        layers: list[nn.Module] = []
        in_channels = 3
        for width, count in zip(_WIDTHS, num_convs, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, width, kernel_size=3, padding=1))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                in_channels = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # the identity at 224 px
        self.classifier = nn.Sequential(
            _linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            _linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            _linear(4096, num_classes),
        )
        initialize(self.features)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, num_classes]; the paper's H = W = 224."""
        x = self.features(self.center(x))
        return self.classifier(self.avgpool(x).flatten(1))


def vgg16(*, num_classes: int = 1000, batch_norm: bool = False) -> VGG:
    """VGG-16: 2, 2, 3, 3, 3 convolutions."""
    return VGG((2, 2, 3, 3, 3), num_classes=num_classes, batch_norm=batch_norm)


def vgg19(*, num_classes: int = 1000, batch_norm: bool = False) -> VGG:
    """VGG-19: 2, 2, 4, 4, 4 convolutions."""
    return VGG((2, 2, 4, 4, 4), num_classes=num_classes, batch_norm=batch_norm)


def _linear(in_features: int, out_features: int) -> nn.Linear:
    """Weights of std 0.01 and no bias at the start, as the VGG paper has it; 120 million of them are drawn once."""
    linear = nn.utils.skip_init(nn.Linear, in_features, out_features, device=torch.get_default_device())
    if not linear.weight.is_meta:
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
    return linear
