"""Accuracy against cost: what every share of float layers buys."""

from __future__ import annotations

__all__ = ["TradeOff", "draw_trade_off"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeOff:
    """One set of float layers that was measured.

    Attributes:
        cost_percent: What it costs.
        agreement_percent, low_percent, high_percent: Images that FP32 and it classify alike, with the interval.
        is_on_front: Nothing cheaper is as good.
    """

    cost_percent: float
    agreement_percent: float
    low_percent: float
    high_percent: float
    is_on_front: bool


def draw_trade_off(
    points: Sequence[TradeOff],
    *,
    predicted: Sequence[tuple[float, float]],
    limit_percent: float | None,
    chosen: TradeOff,
    title: str,
    cost_label: str,
) -> Figure:
    """Measured points with their intervals, their front, the predicted path, the limit, and what was delivered.

    Args:
        predicted: Cost and agreement in percent along the path of the search, by cost.
        limit_percent: Agreement that was asked for; None draws no line.
    """
    figure = new_figure(width=7.0, height=4.6)
    axes = figure.subplots()
    front = sorted((p for p in points if p.is_on_front), key=lambda p: p.cost_percent)
    beside = [p for p in points if not p.is_on_front]
    shown_to = max([p.cost_percent for p in (*points, chosen)]) * 1.15 + 0.5
    line = [(x, y) for x, y in predicted if x <= shown_to]
    axes.plot([x for x, _ in line], [y for _, y in line], color=PALETTE[7], lw=1.2, ls="--", label="predicted path")
    if front:
        axes.step(
            [p.cost_percent for p in front],
            [p.agreement_percent for p in front],
            where="post",
            color=PALETTE[0],
            lw=1.0,
        )
    for group, colour, label in ((front, PALETTE[0], "measured, on the front"), (beside, PALETTE[5], "measured")):
        if group:
            heights = [p.agreement_percent for p in group]
            below = [
                max(0.0, p.agreement_percent - p.low_percent) for p in group
            ]  # at 0 and 100 % the two are one number
            above = [max(0.0, p.high_percent - p.agreement_percent) for p in group]
            x = [p.cost_percent for p in group]
            axes.errorbar(x, heights, yerr=[below, above], fmt="o", ms=4, lw=0.8, capsize=2, color=colour, label=label)
    axes.plot(
        [chosen.cost_percent], [chosen.agreement_percent], "D", ms=8, mfc="none", color=PALETTE[1], label="delivered"
    )
    if limit_percent is not None:
        axes.axhline(limit_percent, color=PALETTE[2], lw=1.0, ls=":", label=f"asked for: {limit_percent:g} %")
    lowest = min(p.low_percent for p in (*points, chosen))
    axes.set_ylim(lowest - 0.1, 100.05)
    axes.set_xlim(-0.02 * shown_to, shown_to)
    axes.set_xlabel(f"{cost_label} (%)")
    axes.set_ylabel("top-1 agreement with FP32 (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure
