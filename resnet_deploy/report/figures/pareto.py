"""Accuracy against latency of everything the advisor looked at."""

from __future__ import annotations

__all__ = ["advice_chart"]

from matplotlib.figure import Figure

from resnet_deploy.bench.advisor.advice import Advice, Option, SpeedBasis
from resnet_deploy.draw.accuracy_latency import OptionPoint, draw_accuracy_latency
from resnet_deploy.report.figures.canvas import Chart, chart_name, short_label
from resnet_deploy.report.numbers import plural

_MEASURED = (SpeedBasis.MEASURED, SpeedBasis.NOT_VALID)


def advice_chart(advice: Advice) -> Chart | None:
    """Options whose accuracy is known; None where none is."""
    known = [option for option in advice.options if option.accuracy.top1_percent is not None]
    if not known:
        return None
    missing = len(advice.options) - len(known)
    unknown = f" {plural(missing, 'option')} without a known top-1 not shown." if missing else ""
    columns = (
        "network", "size, px", "precision", "batch", "latency, ms", "latency is", "top-1, %", "top-1 is",
        "on the Pareto front", "needs",
    )  # fmt: skip
    return Chart(
        name=chart_name("pareto", advice.target),
        heading=f"Accuracy against latency on {advice.target_name}",
        label="Top-1 accuracy of every option against the latency of a pass, logarithmic. Filled marks are measured, "
        "hollow ones estimated; a line joins the Pareto front, and a ring marks the recommendation."
        f"{unknown}",
        columns=columns,
        rows=tuple(_cells(option) for option in known),
        draw=lambda: _draw(advice, known),
    )


def _cells(option: Option) -> tuple:
    return (
        option.net, option.size_px, str(option.precision), option.batch, option.speed.latency_ms, option.speed.label,
        option.accuracy.top1_percent, option.accuracy.label, "yes" if option.on_front else "no", str(option.standing),
    )  # fmt: skip


def _draw(advice: Advice, options: list[Option]) -> Figure:
    labels = _labels(options)
    points = [
        OptionPoint(
            latency_ms=option.speed.latency_ms,
            top1_percent=option.accuracy.top1_percent,
            precision=str(option.precision),
            label=labels[id(option)],
            is_measured=option.speed.basis in _MEASURED,
            is_on_front=option.on_front,
            is_recommended=option is advice.choice,
        )
        for option in options
    ]
    figure = draw_accuracy_latency(
        points,
        max_latency_ms=advice.needs.max_latency_ms,
        min_top1=advice.needs.min_top1,
        title="",
    )
    figure.set_size_inches(6.4, 4.8)
    return figure


def _labels(options: list[Option]) -> dict[int, str]:
    """Each network of the front is named once, where it is fastest; the others have no room."""
    labels, named = {}, set()
    for option in sorted(options, key=lambda option: option.speed.latency_ms):
        first = option.on_front and option.net not in named
        labels[id(option)] = short_label(option.net) if first else ""
        named |= {option.net} if first else set()
    return labels
