"""The loss of top-1 as a staircase from the reference to the delivered file, one step for each cause."""

from __future__ import annotations

__all__ = ["waterfall_chart"]

from pathlib import Path

from matplotlib.figure import Figure

from resnet_deploy.report.figures.canvas import OTHER_COLOUR, SERIES_COLOURS, Chart, chart_name, new_canvas
from resnet_deploy.verify.attribution.result import Attribution, Step

_LOSS, _GAIN, _END = SERIES_COLOURS[3], OTHER_COLOUR, SERIES_COLOURS[5]


def waterfall_chart(attribution: Attribution) -> Chart:
    """Bars between the accuracies before and after each step, with the interval of the step."""
    name = Path(attribution.candidate).name
    rows = [
        (s.cause, s.top1_before, s.top1_after, s.drop, s.drop_low, s.drop_high)
        for s in (*attribution.steps, attribution.total)
    ]
    return Chart(
        name=chart_name("attribution", name),
        heading=f"What the loss of {name} is made of",
        label="Top-1 of the reference and of the delivered file as dots; between them a bar for each step, of as many "
        "points as it loses or gains, with its 95 % interval as a line.",
        columns=("cause", "top-1 before, %", "after, %", "lost, points", "95 % interval from, points", "to, points"),
        rows=tuple(rows),
        draw=lambda: _draw(attribution),
    )


def _draw(attribution: Attribution) -> Figure:
    steps, total = attribution.steps, attribution.total
    figure = new_canvas(height=1.3 + 0.46 * (len(steps) + 2))
    axes = figure.add_subplot()
    _draw_end(axes, 0, total.top1_before)
    for place, step in enumerate(steps, start=1):
        _draw_step(axes, place, step)
    _draw_end(axes, len(steps) + 1, total.top1_after)
    for place in range(len(steps) + 1):
        level = total.top1_before if place == 0 else steps[place - 1].top1_after
        axes.plot([level, level], [place, place + 1], ":", color=_END, linewidth=1)
    axes.set_yticks(range(len(steps) + 2), ["reference", *(step.cause for step in steps), "delivered file"])
    axes.set_ylim(len(steps) + 1.6, -0.75)
    axes.margins(x=0.12)
    axes.set_xlabel("top-1, % (the axis does not start at zero)")
    axes.grid(axis="x")
    return figure


def _draw_end(axes, place: int, top1: float) -> None:
    axes.plot([top1], [place], "o", color=_END, markersize=8)
    axes.annotate(f"{top1:.2f} %", (top1, place), (0, 8), textcoords="offset points", ha="center", fontsize=9)


def _draw_step(axes, place: int, step: Step) -> None:
    colour = _LOSS if step.drop > 0 else _GAIN
    axes.barh([place], [step.top1_after - step.top1_before], left=step.top1_before, height=0.5, color=colour)
    low, high = step.top1_before - step.drop_high, step.top1_before - step.drop_low
    if not step.identical:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.2, marker="|", markersize=7)
    text = "the same pixels" if step.identical else _points(step.drop)
    right = step.top1_before if step.identical else max(high, step.top1_before, step.top1_after)
    axes.annotate(text, (right, place), (5, 0), textcoords="offset points", va="center", fontsize=9)


def _points(drop: float) -> str:
    if round(abs(drop), 2) == 0:
        return "0.00"
    return f"{'loses' if drop > 0 else 'gains'} {abs(drop):.2f}"
