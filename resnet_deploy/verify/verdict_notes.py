"""What limits a verdict, in sentences."""

from __future__ import annotations

__all__ = ["verdict_notes"]

from collections.abc import Iterable, Iterator

from resnet_deploy.verify.statistics.result import ClassRegressions, Conclusion, ImagesNeeded, PairedStatistics
from resnet_deploy.verify.thresholds import Limits

_NAMED = 3


def verdict_notes(
    statistics: PairedStatistics | None,
    limits: Limits,
    *,
    num_images: int,
    unlabelled: str,
    same_pixels: bool,
    remarks: Iterable[str],
) -> Iterator[str]:
    """Each note once, those of classes and runners first.

    Args:
        unlabelled: Why no accuracy was counted; empty where it was.
        same_pixels: Both files prepare images alike.
    """
    yield from dict.fromkeys(remarks)
    if unlabelled:
        yield f"{unlabelled}: the outputs were compared, accuracy was not measured"
    if not same_pixels:
        yield "the two files prepare images differently; each got the pixels its own manifest promises"
    if not unlabelled and num_images and 100 / num_images > limits.max_top1_drop:
        yield (
            f"{num_images} images can not resolve a drop of {limits.max_top1_drop:g} points: "
            f"one image is {100 / num_images:.2f}"
        )
    if statistics is None:
        return
    decision = statistics.decision
    if decision is not None and decision.conclusion is Conclusion.UNDECIDED:
        judged = "so the drop counts as not proven" if decision.prove else "so its point estimate was judged"
        yield (
            f"whether the drop is under {decision.max_drop:g} points is undecided (it is {decision.low:+.2f} to "
            f"{decision.high:+.2f}), {judged}{_what_would(statistics.images_needed)}"
        )
    if statistics.class_regressions is not None and statistics.class_regressions.num_significant:
        yield _of_classes(statistics.class_regressions)
    run = statistics.sequential
    if run is not None:
        yield (
            f"{run.num_images} of {run.num_available} images were compared: {run.reason}; p-values, flip rate and "
            "intervals other than those of drop and agreement do not allow for looking after every batch"
        )


def _what_would(needed: tuple[ImagesNeeded, ...]) -> str:
    """Of the last row: the drop that was seen, at the higher power."""
    if not needed:
        return ""
    row = needed[-1]
    if row.num_images is None:
        return "; were the true drop what was seen, no number of images would prove it"
    return (
        f"; about {row.num_images:,} images would prove it with a probability of {100 * row.power:.0f} %, were the "
        f"true drop {row.assumed_drop:.2f}"
    )


def _of_classes(found: ClassRegressions) -> str:
    named = [f"{one.name} ({one.drop:.1f} points)" for one in found.worst[: min(_NAMED, found.num_significant)]]
    more = f" and {found.num_significant - _NAMED} more" if found.num_significant > _NAMED else ""
    verb = "has" if found.num_significant == 1 else "have"
    return f"{', '.join(named)}{more} {verb} become significantly worse, corrected for {found.num_tested} classes"
