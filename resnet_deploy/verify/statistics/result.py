"""What the statistics of a comparison say: plain data, part of the verdict's file.

Percentages and points are of 100; p-values, levels and margins of 1. An interval is of confidence 1 - level (95 % at
the level 0.05), two-sided unless it says otherwise.
"""

from __future__ import annotations

__all__ = [
    "ClassRegression",
    "ClassRegressions",
    "Conclusion",
    "DropDecision",
    "FlippedImage",
    "Flips",
    "ImagesNeeded",
    "MarginHistogram",
    "Margins",
    "PairedScore",
    "PairedStatistics",
    "Proportion",
    "SequentialRun",
]

from dataclasses import dataclass
from enum import Enum


class Conclusion(str, Enum):
    """What the one-sided bounds of the drop prove of the limit."""

    WITHIN = "proven within"
    BEYOND = "proven beyond"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Proportion:
    """A share of images in percent, with its Wilson interval."""

    num_hits: int
    num_images: int
    percent: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedScore:
    """Hits (top-1 or top-5) of two networks on the same images.

    Attributes:
        reference, candidate: Their shares of hits.
        num_both, num_only_reference, num_only_candidate, num_neither: Images that both hit, one alone, none.
        drop, drop_low, drop_high: Points that the candidate loses, with Tango's score interval of the pairs.
        p_exact: McNemar's exact test, two-sided: chance to see so uneven a split of the discordant images, were
            both networks equally good.
        p_mid: The mid-p form of the same; it decides.
        differs: p_mid < level.
    """

    reference: Proportion
    candidate: Proportion
    num_both: int
    num_only_reference: int
    num_only_candidate: int
    num_neither: int
    drop: float
    drop_low: float
    drop_high: float
    p_exact: float
    p_mid: float
    differs: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DropDecision:
    """The top-1 drop held against its limit.

    Attributes:
        max_drop: The limit, in points.
        low, high: One-sided bounds of the drop, in points; each errs with a probability of `level`.
        conclusion: WITHIN where high < max_drop, BEYOND where low > max_drop.
        prove: An undecided drop fails; otherwise its point estimate is judged.
        method: How the bounds were made.
    """

    max_drop: float
    low: float
    high: float
    conclusion: Conclusion
    prove: bool
    method: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """Quantiles of the reference's margin: the gap of the probabilities of its first and its second class, 0 to 1."""

    num_images: int
    p05: float
    p25: float
    p50: float
    p75: float
    p95: float
    largest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginHistogram:
    """Images by the reference's margin: `num_all[i]`, `num_flipped[i]` of them are from edges[i] to edges[i + 1]."""

    edges: tuple[float, ...]
    num_all: tuple[int, ...]
    num_flipped: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlippedImage:
    """An image whose first class differs between the two.

    Attributes:
        index: Place in the images that were compared.
        name: Path of the image, as the data set names it.
        kind: "right to wrong", "wrong to right", "wrong to wrong"; empty where the image has no label.
        label: Name of its class; None where it has none.
        reference_class, candidate_class: Names of the first classes.
        reference_margin, candidate_margin: Gaps of the probabilities of first and second class; None where a value
            is not finite.
    """

    index: int
    name: str
    kind: str
    label: str | None
    reference_class: str
    candidate_class: str
    reference_margin: float | None
    candidate_margin: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Images whose first class differs between the two (an answer that is not finite differs from all).

    Attributes:
        rate: In percent of the images; `rate.num_hits` is their number.
        num_right_to_wrong, num_wrong_to_right, num_wrong_to_wrong: They add up to it; None without labels.
        all_margins, flipped_margins: Of the reference, over all images and over the flipped ones; None where there
            are none with finite values.
        histogram: The same, in fixed bins.
        suspicious: The flipped images on which the reference was surest, the surest first: a rounding error does
            not flip those.
    """

    rate: Proportion
    num_right_to_wrong: int | None
    num_wrong_to_right: int | None
    num_wrong_to_wrong: int | None
    all_margins: Margins | None
    flipped_margins: Margins | None
    histogram: MarginHistogram
    suspicious: tuple[FlippedImage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRegression:
    """One class on which the candidate hits fewer images than the reference.

    Attributes:
        num_images: Of the class.
        num_only_reference, num_only_candidate: Of these, hit by one of the two alone.
        drop: In points of the class's own images.
        p: McNemar's exact test, one-sided: the candidate is worse.
        p_holm: The same, corrected for the number of classes tested (Holm).
        significant: p_holm < level.
    """

    name: str
    num_images: int
    num_only_reference: int
    num_only_candidate: int
    drop: float
    p: float
    p_holm: float
    significant: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRegressions:
    """Classes that lose top-1.

    Attributes:
        num_tested: Classes with at least one image; what Holm's correction counts.
        num_significant: With p_holm < level; the chance of even one where no class is worse is at most `level`.
        worst: All significant ones, then others that lose, in all at least the ten with the smallest p (where so
            many lose), smallest p first.
    """

    num_tested: int
    num_significant: int
    worst: tuple[ClassRegression, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagesNeeded:
    """How many images would prove the drop to be under the limit.

    Attributes:
        assumed_drop: The true drop, in points, that this row supposes.
        power: Probability of the proof with so many images.
        num_images: None where no number proves it: the supposed drop is not under the limit.
        suffices: The images at hand are as many.
    """

    assumed_drop: float
    power: float
    num_images: int | None
    suffices: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SequentialRun:
    """A comparison that looked at the counts after every batch, with bounds that allow for it.

    Attributes:
        num_images, num_available: Images seen, of how many; unusable ones that were met on the way to the end do not count.
        num_looks: Batches after which the bounds were taken.
        stopped_early: The verdict was certain before the last image.
        reason: What was certain, or why it went to the end.
        drop_low, drop_high: One-sided bounds of the top-1 drop, in points; None without labels. Over all looks
            together each errs with a probability of at most `level`.
        agreement_low, agreement_high: The same of the share of images with the same first class, in percent.
    """

    num_images: int
    num_available: int
    num_looks: int
    stopped_early: bool
    reason: str
    drop_low: float | None
    drop_high: float | None
    agreement_low: float
    agreement_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedStatistics:
    """All that counts and margins of a comparison say.

    Attributes:
        level: Of every test and bound.
        top1: None where the images have no labels.
        top5: None too where there are five classes or fewer.
        decision, class_regressions: None where the images have no labels.
        images_needed: Empty where the images have no labels.
        sequential: None where all images were compared, whatever they said.
    """

    level: float
    top1: PairedScore | None
    top5: PairedScore | None
    decision: DropDecision | None
    flips: Flips
    class_regressions: ClassRegressions | None
    images_needed: tuple[ImagesNeeded, ...]
    sequential: SequentialRun | None
