"""The named networks: one row each, what the paper says of them, and the way from a name to a module.

Reading the catalogue does not import torch; building a network does.
"""

from __future__ import annotations

__all__ = ["IMAGENET_DEPTHS", "NetSpec", "build_net", "find_net", "known_nets", "net_of_depth"]

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess

if TYPE_CHECKING:
    from torch import nn

IMAGENET_DEPTHS = (18, 34, 50, 101, 152)

IMAGENET_PREPROCESS = Preprocess(
    height_px=224,
    width_px=224,
    resize_shorter_px=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""torchvision's evaluation transform for its V1 weights."""

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
    """One row of the catalogue.

    Attributes:
        family: "imagenet" or "cifar".
        depth: Weighted layers, projections not counted (the paper's rule).
        num_classes: Of the data set the paper trains it on.
        shortcut: "A" (zero padding) or "B" (projection where shapes differ).
        variant: Place of the bottleneck stride: "v1.5" (in the 3x3), "-" where there is no bottleneck.
        paper_error_percent: Top-1 error the paper prints, None where it prints none.
        paper_error_note: Which table and protocol that is.
        paper_multiply_adds: The paper's "FLOPs", None where it prints none.
    """

    name: str
    family: str
    depth: int
    num_classes: int
    shortcut: str
    variant: str
    preprocess: Preprocess
    paper_error_percent: float | None = None
    paper_error_note: str = ""
    paper_multiply_adds: float | None = None


_TABLE3 = "ImageNet val, 10-crop, Table 3 (the paper strides the first 1x1)"
_TABLE6 = "CIFAR-10 test, Table 6"
_IMAGENET_ROWS = (
    (18, 27.88, "ImageNet val, 10-crop, Table 2 (option A)", 1.8e9),
    (34, 24.52, "ImageNet val, 10-crop, Table 3 (34 B)", 3.6e9),
    (50, 22.85, _TABLE3, 3.8e9),
    (101, 21.75, _TABLE3, 7.6e9),
    (152, 21.43, _TABLE3, 11.3e9),
)
_CIFAR_ROWS = ((20, 8.75), (32, 7.51), (44, 7.17), (56, 6.97), (110, 6.43), (1202, 7.93))


def _imagenet_spec(depth: int, error: float, note: str, multiply_adds: float) -> NetSpec:
    return NetSpec(
        name=f"resnet{depth}",
        family="imagenet",
        depth=depth,
        num_classes=1000,
        shortcut="B",
        variant="v1.5" if depth >= 50 else "-",
        preprocess=IMAGENET_PREPROCESS,
        paper_error_percent=error,
        paper_error_note=note,
        paper_multiply_adds=multiply_adds,
    )


def _cifar_spec(depth: int, error: float | None) -> NetSpec:
    return NetSpec(
        name=f"resnet{depth}",
        family="cifar",
        depth=depth,
        num_classes=10,
        shortcut="A",
        variant="-",
        preprocess=CIFAR_PREPROCESS,
        paper_error_percent=error,
        paper_error_note=_TABLE6 if error is not None else "",
    )


_CATALOGUE = {
    spec.name: spec
    for spec in [*(_imagenet_spec(*row) for row in _IMAGENET_ROWS), *(_cifar_spec(*row) for row in _CIFAR_ROWS)]
}


def known_nets() -> tuple[NetSpec, ...]:
    """Every named network, ImageNet first, by depth."""
    return tuple(_CATALOGUE.values())


def find_net(name: str) -> NetSpec:
    """The row of that name; a CIFAR depth that is 6n+2 but not named in the paper gets a row of its own.

    Raises:
        ConfigError: No such network; lists the known ones.
    """
    if name in _CATALOGUE:
        return _CATALOGUE[name]
    match = re.fullmatch(r"resnet(\d{1,4})", name)
    if match and int(match[1]) >= 8 and (int(match[1]) - 2) % 6 == 0 and int(match[1]) not in IMAGENET_DEPTHS:
        return _cifar_spec(int(match[1]), None)
    near = difflib.get_close_matches(name, _CATALOGUE, n=1)
    raise ConfigError(
        f"unknown net {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
        remedy=f"known nets: {', '.join(_CATALOGUE)}; CIFAR nets exist for every depth 6n+2",
    )


def net_of_depth(depth: int) -> NetSpec:
    """The ImageNet network of that depth.

    Raises:
        ConfigError: Unknown depth; lists the known ones.
    """
    if depth not in IMAGENET_DEPTHS:
        raise ConfigError(
            f"unknown depth {depth}",
            remedy=f"--depth takes {', '.join(map(str, IMAGENET_DEPTHS))} (ImageNet); "
            "CIFAR nets are named: --net resnet20",
        )
    return _CATALOGUE[f"resnet{depth}"]


def build_net(spec: NetSpec, *, num_classes: int | None = None) -> nn.Module:
    """The network as a PyTorch module with fresh He-initialised weights, in training mode."""
    from resnet_deploy.nets import cifar, imagenet

    classes = spec.num_classes if num_classes is None else num_classes
    if classes < 1:
        raise ConfigError(f"num_classes is {classes}, expected at least 1")
    if spec.family == "imagenet":
        return getattr(imagenet, spec.name)(num_classes=classes)
    return cifar.cifar_resnet(spec.depth, num_classes=classes)
