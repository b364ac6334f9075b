"""Top-1 of an option: measured by a verdict, published with the weights, or the FP32 figure less an allowance."""

from __future__ import annotations

__all__ = ["MOST_GAINED", "AccuracyBook", "MeasuredAccuracy"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resnet_deploy.bench.advisor.advice import AccuracyBasis, KnownAccuracy
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.published_accuracy import find_weights, published_accuracy

_IMAGENET_CLASSES = 1000

MOST_GAINED = 2.0
"""Points of top-1 that larger test images are taken to gain at most without training again. The largest published gain
from 224 to 288 px is 1.66 (timm's a1 weights, resnet18)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredAccuracy:
    """One side of a verdict: top-1 and its 95 % interval, in percent.

    Attributes:
        data: The images it was measured on.
        source: The verdict's file.
        created: UTC, ISO 8601.
    """

    net: str
    size_px: int
    precision: Precision
    num_classes: int
    top1_percent: float
    low: float
    high: float
    num_images: int
    data: str
    source: str
    created: str = ""


class AccuracyBook:
    """Answers what is known of the top-1 of a network at a size in a precision.

    What was measured beats what was published; of a network with any verdict no published figure is taken, since its
    weights need not be the same. Of several measurements the one on most images counts, then the latest. Published
    figures are those of ImageNet's 1,000 classes: where a verdict is of such a network with other classes, what is asked
    about is another task, of which they say nothing; they are left aside for every network.

    Args:
        weights: Tag of the published weights.
    Raises:
        ConfigError: Unknown tag.
    """

    def __init__(self, measured: Iterable[MeasuredAccuracy], *, weights: str) -> None:
        self._tag = weights
        self._figures = find_weights(weights)
        self._measured: dict[tuple[str, int, Precision], MeasuredAccuracy] = {}
        for found in sorted(measured, key=lambda m: (m.num_images, m.created)):
            self._measured[found.net, found.size_px, found.precision] = found
        self.other_classes = tuple(sorted({m.num_classes for m in self._measured.values() if _is_other_task(m)}))
        self._uses_published = not self.other_classes

    @property
    def measured(self) -> tuple[MeasuredAccuracy, ...]:
        """Those that count."""
        return tuple(self._measured.values())

    def look_up(self, net: str, size_px: int, precision: Precision) -> KnownAccuracy:
        """What is known of `net` on square images of `size_px` in `precision`."""
        if found := self._measured.get((net, size_px, precision)):
            return _known(found)
        plain = self._fp32(net, size_px)
        if precision is Precision.FP32 or plain.basis is AccuracyBasis.UNKNOWN:
            return plain
        return self._converted(plain, precision)

    def _fp32(self, net: str, size_px: int) -> KnownAccuracy:
        if found := self._measured.get((net, size_px, Precision.FP32)):
            return _known(found)
        published = self._published(net).get(size_px)
        if published is None:
            return self._unknown(net, size_px)
        return KnownAccuracy(
            basis=AccuracyBasis.PUBLISHED,
            top1_percent=published,
            low=published,
            high=published,
            source=f"{self._tag}, {self._figures.source}",
        )

    def _unknown(self, net: str, size_px: int) -> KnownAccuracy:
        """Not known, but taken to be no better than at the next larger size, nor than `MOST_GAINED` over a smaller one.

        Source: Touvron et al., Fixing the train-test resolution discrepancy (NeurIPS 2019, arXiv 1906.06423): a network
        does best on test images somewhat larger than its training crops. That smaller images than the published ones
        give no more is our reading of it.
        """
        own = {size: m.high for (name, size, p), m in self._measured.items() if (name, p) == (net, Precision.FP32)}
        who = "its verdict" if own else self._tag
        by_size = sorted((own or self._published(net)).items())
        larger = [(side, top1) for side, top1 in by_size if side > size_px]
        if larger:
            side, top1 = larger[0]
            source = f"{who} has at most {top1:.2f} % at {side} px, and smaller images are taken to give no more"
            return KnownAccuracy(basis=AccuracyBasis.UNKNOWN, high=top1, source=source)
        if by_size:
            side, top1 = by_size[-1]
            source = (
                f"{who} has at most {top1:.2f} % at {side} px, and larger images are taken to give at most "
                f"{MOST_GAINED:g} points more"
            )
            return KnownAccuracy(basis=AccuracyBasis.UNKNOWN, high=min(100.0, top1 + MOST_GAINED), source=source)
        if not self._uses_published:
            source = "neither measured nor, for these classes, published"
        else:
            source = f"neither measured nor published for {self._tag} at {size_px} px"
        return KnownAccuracy(basis=AccuracyBasis.UNKNOWN, source=source)

    def _published(self, net: str) -> dict[int, float]:
        """Image side -> top-1; empty where they say nothing: other classes, or other weights, as a verdict has them."""
        if not self._uses_published or any(name == net for name, _, _ in self._measured):
            return {}
        return self._figures.by_size(net)

    def _converted(self, plain: KnownAccuracy, precision: Precision) -> KnownAccuracy:
        """The FP32 figure less the largest published loss of such a conversion, which is the allowance."""
        worst = published_accuracy().worst_drop(precision)
        if worst is None:
            source = f"no {precision} conversion is published; in FP32 {plain.top1_percent:.2f} %"
            return KnownAccuracy(basis=AccuracyBasis.UNKNOWN, source=source)
        source = (
            f"FP32 {plain.top1_percent:.2f} %, {plain.source}; less {worst.drop:.2f} points, the largest published "
            f"{precision} loss, {worst.source}"
        )
        low: float | None = plain.low - worst.drop
        caution = self._figures.int8_caution
        if precision is Precision.INT8 and plain.basis is AccuracyBasis.PUBLISHED and caution:
            low, source = None, f"{source}; {caution}"
        return KnownAccuracy(
            basis=AccuracyBasis.DERIVED,
            top1_percent=plain.top1_percent - worst.drop,
            low=low,
            high=plain.high,
            source=source,
        )

    def remarks(self, nets: Sequence[str]) -> list[str]:
        """What a reader of the accuracies of `nets` should know."""
        notes = []
        if self._measured:
            data = ", ".join(sorted({m.data for m in self._measured.values()}))
            notes.append(f"top-1 of {len(self._measured)} networks was measured, on {data}")
        if self.other_classes:
            counts = ", ".join(map(str, self.other_classes))
            notes.append(
                f"published top-1 is left aside: it is of ImageNet's 1,000 classes, the verdicts' are {counts}"
            )
        elif any(self._figures.by_size(net) for net in nets):
            data = published_accuracy()
            notes.append(
                f"published top-1 is that of {self._tag} ({self._figures.about}) on ImageNet-1k; for your own weights "
                "and images, validate them and name the folder with --from"
            )
            used = {self._figures.source, *(row.source for row in map(data.worst_drop, Precision) if row)}
            notes.extend(f"{key}: {data.sources[key].title}, {data.sources[key].address}" for key in sorted(used))
        return notes


def _is_other_task(found: MeasuredAccuracy) -> bool:
    """Whether a network that has published figures was measured on other classes than theirs."""
    is_published = any(figures.by_size(found.net) for figures in published_accuracy().weights.values())
    return is_published and found.num_classes != _IMAGENET_CLASSES


def _known(found: MeasuredAccuracy) -> KnownAccuracy:
    return KnownAccuracy(
        basis=AccuracyBasis.MEASURED,
        top1_percent=found.top1_percent,
        low=found.low,
        high=found.high,
        source=f"{found.source}, {found.num_images:,} images",
    )
