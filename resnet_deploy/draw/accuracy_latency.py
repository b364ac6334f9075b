"""Top-1 against latency: options, their Pareto front, the needs, and the one that is recommended."""

from __future__ import annotations

__all__ = ["OptionPoint", "draw_accuracy_latency"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"fp32": PALETTE[7], "fp16": PALETTE[0], "bf16": PALETTE[5], "int8": PALETTE[1], "fp8": PALETTE[2]}
_MARKERS = {"fp32": "s", "fp16": "o", "bf16": "v", "int8": "^", "fp8": "D"}  # colour is not the only sign


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionPoint:
    """One option whose top-1 is known.

    Attributes:
        label: Written beside it where it is on the front; empty writes nothing.
        is_measured: Its latency was measured, so it is drawn filled.
    """

    latency_ms: float
    top1_percent: float
    precision: str
    label: str
    is_measured: bool
    is_on_front: bool
    is_recommended: bool = False


def draw_accuracy_latency(
    points: Sequence[OptionPoint],
    *,
    max_latency_ms: float | None,
    min_top1: float | None,
    title: str,
    num_unknown: int = 0,
) -> Figure:
    """Points filled where they were measured and hollow where they are estimates, by precision.

    The line joins the most accurate of what is at most that slow.

    Args:
        max_latency_ms, min_top1: Needs, drawn as lines; None draws none.
        num_unknown: Options that are not shown because their top-1 is not known; said in the picture.
    """
    figure = new_figure(width=8.0, height=5.0)
    axes = figure.subplots()
    _scatter(axes, points)
    stairs, heights = _stairs(points), [p.top1_percent for p in points]
    axes.step([p.latency_ms for p in stairs], [p.top1_percent for p in stairs], where="post", color=PALETTE[6], lw=0.8)
    for point in _labelled(stairs, span=max(heights) - min(heights)):
        axes.annotate(
            point.label,
            (point.latency_ms, point.top1_percent),
            xytext=(-6, 3),
            textcoords="offset points",
            fontsize=7,
            ha="right",
        )
    for point in points:
        if point.is_recommended:
            axes.plot(
                point.latency_ms, point.top1_percent, "o", ms=15, mfc="none", mec=PALETTE[6], mew=1.5,
                ls="none", label="recommended",
            )  # fmt: skip
    if max_latency_ms is not None:
        axes.axvline(max_latency_ms, color=PALETTE[3], lw=1.2, ls="--", label=f"need: at most {max_latency_ms:g} ms")
    if min_top1 is not None:
        axes.axhline(min_top1, color=PALETTE[3], lw=1.2, ls=":", label=f"need: at least {min_top1:g} %")
    axes.set_xscale("log")
    axes.set_xlim(left=min(p.latency_ms for p in points) / 7)  # room for the label of the fastest
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("latency of one pass (ms); hollow: an estimate, filled: measured")
    axes.set_ylabel("top-1 (%)")
    hidden = f"\n{num_unknown} options without a known top-1 are not shown" if num_unknown else ""
    axes.set_title(title + hidden, fontsize=10)
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)  # within, it would hide points
    return figure


def _scatter(axes: Axes, points: Sequence[OptionPoint]) -> None:
    for precision, colour in _COLOURS.items():
        for measured in (True, False):
            own = [p for p in points if p.precision == precision and p.is_measured == measured]
            if not own:
                continue
            axes.plot(
                [p.latency_ms for p in own],
                [p.top1_percent for p in own],
                ls="none",
                marker=_MARKERS.get(precision, "o"),
                ms=6,
                mec=colour,
                mfc=colour if measured else "none",
                label=f"{precision}, {'measured' if measured else 'estimate'}",
            )


def _stairs(points: Sequence[OptionPoint]) -> list[OptionPoint]:
    """Of the front, those that no point to their left is as high as: what a picture of two axes can show of it."""
    highest, stairs = float("-inf"), []
    for point in sorted(points, key=lambda p: (p.latency_ms, -p.top1_percent)):
        if point.is_on_front and point.top1_percent > highest:
            stairs.append(point)
            highest = point.top1_percent
    return stairs


def _labelled(stairs: Sequence[OptionPoint], *, span: float) -> list[OptionPoint]:
    """Of the stairs, those that are high enough above the last label for letters of their own."""
    labelled: list[OptionPoint] = []
    for point in stairs:
        if not labelled or point.top1_percent - labelled[-1].top1_percent > 0.03 * span:
            labelled.append(point)
    return labelled
