"""The named networks: what a name says, the list that is shown, and the way from a name to a module.

Reading the catalogue does not import torch; building a network does.
"""

from __future__ import annotations

__all__ = [
    "CIFAR_PREPROCESS",
    "IMAGENET_DEPTHS",
    "IMAGENET_PREPROCESS",
    "NetSpec",
    "build_net",
    "find_net",
    "known_nets",
    "net_of_depth",
]

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.nets.names import IMAGENET_DEPTHS, NetName, read_net_name

if TYPE_CHECKING:
    from torch import nn

IMAGENET_PREPROCESS = Preprocess(
    height_px=224,
    width_px=224,
    resize_shorter_px=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""torchvision's evaluation transform for its V1 weights."""

CAFFE_PREPROCESS = Preprocess(
    height_px=224,
    width_px=224,
    resize_shorter_px=256,
    mean=(123.15163084 / 255, 115.90288257 / 255, 103.0626238 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)
"""Input of the original Caffe models, pixels 0 to 255 minus their mean, written for pixel / 255 and in RGB.

The models themselves read BGR: an import turns the input channels of conv1 round instead. The mean is that of
the release's 224 x 224 mean image, per channel, as chainercv quotes it; with the mean image itself attached to
the net (`nets.mean_image`) the difference to it is what is subtracted there.
"""

CIFAR_PREPROCESS = Preprocess(
    height_px=32,
    width_px=32,
    resize_shorter_px=32,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""ImageNet's mean and std, as the public CIFAR checkpoints use them; 32 px images pass the resize unchanged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetSpec:
    """One network of the catalogue.

    Attributes:
        family: The data it is made for: "imagenet" or "cifar".
        architecture: "resnet", "plain" or "vgg".
        depth: Weighted layers, projections not counted (the paper's rule).
        num_classes: Of the data set the paper trains it on.
        shortcut: The paper's option "A", "B" or "C"; "none" for a plain net and for VGG.
        variant: "v1", "v1.5" or "v1-caffe" for bottleneck nets (see `nets.blocks.VARIANTS`); "bn" for VGG with
            batch normalisation; "-" elsewhere.
    """

    name: str
    family: str
    architecture: str
    depth: int
    num_classes: int
    shortcut: str
    variant: str
    preprocess: Preprocess


def known_nets() -> tuple[NetSpec, ...]:
    """The nets of the paper and those that are usual today, ImageNet first; the usual form of a depth comes first.

    `find_net` knows more: every legal combination of depth, variant and shortcut option.
    """
    depths = [f"resnet{depth}" for depth in IMAGENET_DEPTHS]
    bottleneck_v1 = [f"resnet{depth}-v1" for depth in IMAGENET_DEPTHS if depth >= 50]
    paper = ["resnet18-a", "resnet34-a", "resnet34-c", *bottleneck_v1, "plain18", "plain34"]
    vgg = ["vgg16", "vgg16-bn", "vgg19", "vgg19-bn"]
    cifar = [f"resnet{depth}" for depth in (20, 32, 44, 56, 110, 1202)]
    plain_cifar = [f"plain{depth}" for depth in (20, 32, 44, 56, 110)]
    return tuple(find_net(name) for name in (*depths, *paper, *vgg, *cifar, *plain_cifar))


@functools.cache
def find_net(name: str) -> NetSpec:
    """The net of that name; any legal combination of architecture, depth, variant and shortcut option.

    Raises:
        ConfigError: No such network; names the nearest one, and how names are made.
    """
    return _spec(read_net_name(name))


def net_of_depth(depth: int) -> NetSpec:
    """The ImageNet network of that depth: torchvision's, option B, v1.5.

    Raises:
        ConfigError: Unknown depth; lists the known ones.
    """
    if depth not in IMAGENET_DEPTHS:
        raise ConfigError(
            f"unknown depth {depth}",
            remedy=f"--depth takes {', '.join(map(str, IMAGENET_DEPTHS))} (ImageNet); "
            "CIFAR nets are named: --net resnet20",
        )
    return find_net(f"resnet{depth}")


def build_net(spec: NetSpec, *, num_classes: int | None = None) -> nn.Module:
    """The network as a PyTorch module with fresh He-initialised weights, in training mode."""
    from resnet_deploy.nets import cifar, imagenet, vgg

    classes = spec.num_classes if num_classes is None else num_classes
    if classes < 1:
        raise ConfigError(f"num_classes is {classes}, expected at least 1")
    if spec.architecture == "vgg":
        return getattr(vgg, f"vgg{spec.depth}")(num_classes=classes, batch_norm=spec.variant == "bn")
    if spec.family == "cifar":
        return cifar.cifar_resnet(spec.depth, num_classes=classes, shortcut=spec.shortcut)
    form = {} if spec.variant == "-" else {"variant": spec.variant}
    return getattr(imagenet, f"resnet{spec.depth}")(num_classes=classes, shortcut=spec.shortcut, **form)


def _spec(name: NetName) -> NetSpec:
    preprocess = IMAGENET_PREPROCESS if name.family == "imagenet" else CIFAR_PREPROCESS
    return NetSpec(
        name=name.text,
        family=name.family,
        architecture=name.architecture,
        depth=name.depth,
        num_classes=1000 if name.family == "imagenet" else 10,
        shortcut=name.shortcut,
        variant=name.variant,
        preprocess=CAFFE_PREPROCESS if name.variant == "v1-caffe" else preprocess,
    )
