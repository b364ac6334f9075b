"""An attribution in words."""

from __future__ import annotations

__all__ = ["sentence_of", "steps_in_words"]

from collections.abc import Iterator, Sequence

from resnet_deploy.verify.attribution.measure import ChainMeasurement
from resnet_deploy.verify.attribution.result import Step


def sentence_of(found: ChainMeasurement, largest: str, *, reached: bool) -> str:
    """What was lost, through what most, and what can not be told from nothing.

    Args:
        largest: Cause of the step that loses most; empty where none is distinguishable.
        reached: Whether the last network that was run is the candidate itself.
    """
    total = found.total
    who = "The candidate" if reached else f"The last file that runs here ({found.files[-1].name})"
    if not total.distinguishable:
        parts = [f"{who} has no loss of top-1 that {found.num_images} images can tell from none ({_interval(total)})"]
    else:
        verb = "loses" if total.drop > 0 else "gains"
        parts = [f"{who} {verb} {abs(total.drop):.2f} points of top-1 ({_interval(total)})"]
    if largest:
        step = next(step for step in found.steps if step.cause == largest)
        parts.append(f"{largest} loses most: {step.drop:.2f} points ({_interval(step)})")
    elif total.distinguishable and total.drop > 0:
        step = max(found.steps, key=lambda step: step.drop)
        parts.append(
            f"no step loses enough by itself to be told from none; {step.cause} seems to lose most: {step.drop:.2f} "
            f"points ({_interval(step)})"
        )
    if gains := [step for step in found.steps if step.distinguishable and step.drop < 0]:
        parts.append("; ".join(f"{step.cause} gains {-step.drop:.2f} points ({_interval(step)})" for step in gains))
    same = [step.cause for step in found.steps if step.identical]
    if same:
        parts.append(f"{_listed(same)} changed nothing")
    unclear = [step.cause for step in found.steps if not step.distinguishable and not step.identical]
    if unclear:
        parts.append(f"not distinguishable from none: {_listed(unclear)}")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def steps_in_words(found: ChainMeasurement, could_branch: bool) -> Iterator[str]:
    """Remarks on the split: its order, and files that give what is no number."""
    if found.interaction is not None:
        both = found.interaction
        yield (
            f"order: {both.cause} loses {both.drop_after:+.2f} points after {both.other} and {both.drop_first:+.2f} "
            f"before it, so {both.points:+.2f} points (95 %: {both.low:+.2f} .. {both.high:+.2f}) depend on the order"
        )
    elif could_branch:
        yield "order: precision conversion before quantisation could not be measured"
    for file in found.files:
        if file.num_nonfinite_rows:
            yield f"{file.name} gives NaN or infinity on {file.num_nonfinite_rows} images"


def _interval(step: Step) -> str:
    return f"95 %: {step.drop_low:+.2f} .. {step.drop_high:+.2f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
