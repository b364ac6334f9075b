"""Published top-1 of known weights, and what published conversions to FP16 and INT8 cost; each with its source."""

from __future__ import annotations

__all__ = ["Conversion", "PublishedAccuracy", "WeightsFigures", "find_weights", "published_accuracy"]

import functools
from dataclasses import dataclass, field
from pathlib import Path

from resnet_deploy.core.config import load_toml
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

_FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a figure was read."""

    title: str
    address: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFigures:
    """Top-1 in percent of one set of weights, by net and by image side in px, as FP32.

    Attributes:
        int8_caution: Why published INT8 drops of other weights do not speak for these; empty where they do.
    """

    source: str
    about: str
    int8_caution: str = ""
    resnet18: dict[str, float] = field(default_factory=dict)
    resnet34: dict[str, float] = field(default_factory=dict)
    resnet50: dict[str, float] = field(default_factory=dict)
    resnet101: dict[str, float] = field(default_factory=dict)
    resnet152: dict[str, float] = field(default_factory=dict)

    def top1_percent(self, net: str, size_px: int) -> float | None:
        """That of `net` on square images of that side; None where none is published. Sizes are not interpolated."""
        return self.by_size(net).get(size_px)

    def by_size(self, net: str) -> dict[int, float]:
        """Side in px -> top-1 of `net`, in percent."""
        return {int(side): top1 for side, top1 in getattr(self, net).items()} if net in _NETS else {}


_NETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """Top-1 in percent before and after one published post-training conversion."""

    precision: Precision
    net: str
    before: float
    after: float
    source: str

    @property
    def drop(self) -> float:
        """Points of top-1 that were lost."""
        return self.before - self.after


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedAccuracy:
    """All of it; `weights` by tag."""

    sources: dict[str, Source]
    weights: dict[str, WeightsFigures]
    conversions: tuple[Conversion, ...]

    def worst_drop(self, precision: Precision) -> Conversion | None:
        """The published conversion to `precision` that lost most; None where none is published."""
        found = [row for row in self.conversions if row.precision is precision]
        return max(found, key=lambda row: row.drop, default=None)


@functools.cache
def published_accuracy() -> PublishedAccuracy:
    """Read the figures that come with the package."""
    return load_toml(PublishedAccuracy, _FILE)


def find_weights(tag: str) -> WeightsFigures:
    """The figures of the weights of that tag.

    Raises:
        ConfigError: Unknown tag; lists the known ones.
    """
    known = published_accuracy().weights
    if tag not in known:
        raise ConfigError(f"unknown weights {tag!r}", remedy=f"--weights takes {', '.join(known)}")
    return known[tag]
