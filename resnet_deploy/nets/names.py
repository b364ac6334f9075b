"""How networks are called, and what a name that is almost right should have been.

    resnet<depth>[-cifar][-v1|-v1-caffe][-a|-b|-c]    plain<depth>[-cifar]    vgg16|vgg19[-bn]

Depths 18, 34, 50, 101 and 152 are ImageNet's, any other 6n+2 is CIFAR's; 50 and 152 are both, so CIFAR's are
called `resnet50-cifar`. What is usual has no suffix (B on ImageNet, A on CIFAR, v1.5): a net has one name.
"""

from __future__ import annotations

__all__ = ["IMAGENET_DEPTHS", "NetName", "read_net_name"]

import difflib
import re
from dataclasses import dataclass

from resnet_deploy.core.errors import ConfigError

IMAGENET_DEPTHS = (18, 34, 50, 101, 152)

_BOTTLENECK_FROM = 50
_VGG_DEPTHS = (16, 19)
_CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
_USUAL_SHORTCUT = {"imagenet": "B", "cifar": "A"}
_REMEDY = (
    "nets are called resnet18|34|50|101|152 (ImageNet), resnet20|32|44|56|110|1202 or any 6n+2 (CIFAR), "
    "then -v1 or -v1-caffe (from 50 layers on), then -a, -b or -c where the shortcut is not the usual one; "
    "plain18|34, plain20 and any 6n+2; vgg16|19, -bn. See `resnet-deploy nets list`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetName:
    """A name, read; the fields are those of `catalogue.NetSpec`."""

    architecture: str
    family: str
    depth: int
    shortcut: str
    variant: str

    @property
    def text(self) -> str:
        """The one name of this net."""
        parts = [f"{self.architecture}{self.depth}"]
        if self.architecture != "vgg" and self.family == "cifar" and self.depth in IMAGENET_DEPTHS:
            parts.append("cifar")
        if self.variant not in ("-", "v1.5"):
            parts.append(self.variant)
        if self.shortcut not in ("none", _USUAL_SHORTCUT[self.family]):
            parts.append(self.shortcut.lower())
        return "-".join(parts)


def read_net_name(text: str) -> NetName:
    """Take a net's name apart.

    Raises:
        ConfigError: No such network; says which part is wrong and what it may have been meant to be.
    """
    match = re.fullmatch(r"(resnet|plain|vgg)(\d{1,4})((?:-[a-z0-9.]+)*)", text)
    if match is None:
        raise _unknown(text)
    architecture, depth, suffix = match[1], int(match[2]), match[3]
    name = _vgg(text, depth, suffix) if architecture == "vgg" else _residual(text, architecture, depth, suffix)
    if name.text != text:  # a suffix for what is usual, or 020 for 20
        raise _unknown(text, f"did you mean {name.text!r}? What is usual has no suffix")
    return name


def _vgg(text: str, depth: int, suffix: str) -> NetName:
    if depth not in _VGG_DEPTHS or suffix not in ("", "-bn"):
        raise _unknown(text)
    return NetName(architecture="vgg", family="imagenet", depth=depth, shortcut="none", variant="bn" if suffix else "-")


def _residual(text: str, architecture: str, depth: int, suffix: str) -> NetName:
    match = re.fullmatch(r"(-cifar)?(?:-(v1\.5|v1-caffe|v1))?(?:-([abc]))?", suffix)
    if match is None:
        raise _unknown(text)
    family = "imagenet" if depth in IMAGENET_DEPTHS and not match[1] else "cifar"
    if family == "cifar" and (depth < 8 or (depth - 2) % 6):
        below = max(8, depth - (depth - 2) % 6)
        raise _unknown(text, f"{depth} is not 6n+2, the nearest depths are {below} and {below + 6}")
    is_bottleneck = family == "imagenet" and depth >= _BOTTLENECK_FROM
    if architecture == "plain" and is_bottleneck:
        has_cifar = (depth - 2) % 6 == 0
        raise _unknown(
            text,
            "the paper's plain nets on ImageNet have 18 and 34 layers"
            + (f"; CIFAR's with {depth} is called 'plain{depth}-cifar'" if has_cifar else ""),
        )
    if match[2] and not is_bottleneck:
        raise _unknown(text, f"variant {match[2]!r} is one of bottleneck nets, 50 layers or more on ImageNet")
    if match[3] and architecture == "plain":
        residual = NetName(architecture="resnet", family=family, depth=depth, shortcut=match[3].upper(), variant="-")
        raise _unknown(text, f"a plain net has no shortcuts; did you mean {residual.text!r}?")
    shortcut = "none" if architecture == "plain" else (match[3] or _USUAL_SHORTCUT[family]).upper()
    variant = (match[2] or "v1.5") if is_bottleneck else "-"
    return NetName(architecture=architecture, family=family, depth=depth, shortcut=shortcut, variant=variant)


def _unknown(text: str, why: str | None = None) -> ConfigError:
    if why is None:
        near = difflib.get_close_matches(text.lower().replace("_", "-"), _usual_names(), n=1)
        why = f"did you mean {near[0]!r}?" if near else None
    return ConfigError(f"unknown net {text!r}" + (f" ({why})" if why else ""), remedy=_REMEDY)


def _usual_names() -> list[str]:
    """Every name with a depth of the paper, the plainest first: what a slip of the pen is compared with."""
    names = [f"resnet{depth}" for depth in (*IMAGENET_DEPTHS, *_CIFAR_DEPTHS)]
    names += [f"vgg{depth}{suffix}" for depth in _VGG_DEPTHS for suffix in ("", "-bn")]
    names += [f"plain{depth}" for depth in (18, 34, *_CIFAR_DEPTHS)]
    deep = [depth for depth in IMAGENET_DEPTHS if depth >= _BOTTLENECK_FROM]
    forms = [form + option for form in ("-v1", "-v1-caffe") for option in ("", "-a", "-c")]
    names += [f"resnet{depth}{form}" for form in forms for depth in deep]
    names += [f"resnet{depth}{option}" for option in ("-a", "-c") for depth in IMAGENET_DEPTHS]
    return names + [f"resnet{depth}{option}" for option in ("-b", "-c") for depth in _CIFAR_DEPTHS]
