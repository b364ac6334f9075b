"""Error against iterations in the manner of the paper's Figs. 1, 4 and 6: thin dashes train, bold held out."""

from __future__ import annotations

__all__ = ["ErrorCurve", "draw_error_curves", "error_ceiling"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_PANEL_WIDTH, _PANEL_HEIGHT = 6.0, 4.2
_PAPER_CEILING = 20.0
_IN_TEN_THOUSANDS_FROM = 20_000
_TRAIN = {"ls": "--", "lw": 1.0}
_TEST = {"ls": "-", "lw": 2.2}


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCurve:
    """What one training run showed.

    Attributes:
        name: As the legend has it; empty for a run that is alone in its picture.
        steps: [E] iterations done, rising.
        train_error, test_error: [E] in percent; None where it was not measured.
        colour: Curves of one colour number have the same colour in every panel.
    """

    name: str
    steps: Sequence[int]
    train_error: Sequence[float | None]
    test_error: Sequence[float | None]
    colour: int = 0


def draw_error_curves(panels: Mapping[str, Sequence[ErrorCurve]]) -> Figure:
    """One panel for each title, side by side on the same axes.

    The scale ends at 20 %, as in the paper, where the runs end below it and were there for at least half of the
    time; their first epochs then leave the picture rather than flatten the rest.
    """
    from matplotlib.ticker import MultipleLocator

    curves = [curve for members in panels.values() for curve in members]
    last_step = max((curve.steps[-1] for curve in curves if curve.steps), default=1)
    scale = 10_000 if last_step >= _IN_TEN_THOUSANDS_FROM else 1
    figure = new_figure(width=_PANEL_WIDTH * len(panels), height=_PANEL_HEIGHT)
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, members) in zip(all_axes, panels.items(), strict=True):
        for curve in members:
            _draw_one(axes, curve, scale)
        axes.legend(handles=_legend(members), fontsize=9)
        axes.set_title(title)
        axes.set_xlabel("iterations (1e4)" if scale > 1 else "iterations")
        axes.tick_params(labelleft=True)
        axes.grid(alpha=0.3)
    all_axes[0].set_xlim(0, last_step / scale)
    ceiling = error_ceiling(curves)
    all_axes[0].set_ylim(0, ceiling)
    all_axes[0].yaxis.set_major_locator(MultipleLocator(ceiling / 4 if ceiling <= 60 else 20))
    all_axes[0].set_ylabel("error (%)")
    return figure


def error_ceiling(curves: Sequence[ErrorCurve]) -> float:
    """Upper end of the error axis, with at least half of all points below it.

    The paper's 20 % where every curve ends below it and half of the points lie there, else with room above the worst
    end and above the median.
    """
    columns = [errors for curve in curves for errors in (curve.train_error, curve.test_error)]
    ends = [_last_known(errors) for errors in columns]
    points = sorted(error for errors in columns for error in errors if error is not None)
    median = points[(len(points) - 1) // 2] if points else 100.0
    worst = max([median, *(end for end in ends if end is not None)])
    if worst < _PAPER_CEILING:
        return _PAPER_CEILING
    return min(100.0, 20.0 * math.ceil(1.25 * worst / 20.0))


def _draw_one(axes: Axes, curve: ErrorCurve, scale: int) -> None:
    for errors, style in ((curve.train_error, _TRAIN), (curve.test_error, _TEST)):
        known = [(step / scale, error) for step, error in zip(curve.steps, errors, strict=True) if error is not None]
        # a run of one epoch is a point, which a line does not show
        marker = "o" if len(known) == 1 else None
        axes.plot([x for x, _ in known], [y for _, y in known], color=_colour(curve), marker=marker, **style)


def _legend(curves: Sequence[ErrorCurve]) -> list[Line2D]:
    """A line for each net, then what dashes and bold mean; one net alone needs no name of its own."""
    from matplotlib.lines import Line2D

    alone = len(curves) == 1 and not curves[0].name
    nets = [] if alone else [Line2D([], [], color=_colour(curve), label=curve.name, **_TEST) for curve in curves]
    ink = _colour(curves[0]) if alone else "0.35"
    return [
        *nets,
        Line2D([], [], color=ink, label="train (augmented)", **_TRAIN),
        Line2D([], [], color=ink, label="test (held out)", **_TEST),
    ]


def _colour(curve: ErrorCurve) -> str:
    return PALETTE[curve.colour % len(PALETTE)]


def _last_known(errors: Sequence[float | None]) -> float | None:
    return next((error for error in reversed(errors) if error is not None), None)
