"""The error of every layer in order: what it adds, and what has come together behind it."""

from __future__ import annotations

__all__ = ["divergence_chart"]

from pathlib import Path

from matplotlib.figure import Figure

from resnet_deploy.report.figures.canvas import SERIES_COLOURS, Chart, chart_name, new_canvas, short_label
from resnet_deploy.verify.faults.divergence_result import Divergence

_MOST_DB = 120.0  # above it two tensors are as good as equal; equal ones have 300
_MOST_NAMES = 24


def divergence_chart(divergence: Divergence) -> Chart:
    """Two lines of SQNR by layer, the limit, and a cross at every layer at fault."""
    name = Path(divergence.candidate.file).name
    rows = [
        (n, layer.layer, layer.block, layer.accumulated.sqnr_db, layer.introduced.sqnr_db, layer.reason)
        for n, layer in enumerate(divergence.layers)
    ]
    return Chart(
        name=chart_name("layers", name),
        heading=f"Error by layer, {name}",
        label="Signal to quantisation noise ratio of every layer in order, in decibel, higher is better: accumulated, "
        "and introduced by the layer alone. Layers at fault are crossed; the dotted line is the limit.",
        columns=("number", "layer", "block", "SQNR accumulated, dB", "SQNR introduced, dB", "why at fault"),
        rows=tuple(rows),
        draw=lambda: _draw(divergence),
    )


def _draw(divergence: Divergence) -> Figure:
    figure = new_canvas(height=3.9)
    axes = figure.add_subplot()
    layers = divergence.layers
    for values, label, colour, style in (
        ([layer.introduced.sqnr_db for layer in layers], "introduced by the layer", SERIES_COLOURS[0], "o-"),
        ([layer.accumulated.sqnr_db for layer in layers], "accumulated", SERIES_COLOURS[5], "s-"),
    ):
        known = [(place, min(value, _MOST_DB)) for place, value in enumerate(values) if value is not None]
        axes.plot(
            *zip(*known, strict=True), style, color=colour, markersize=3, linewidth=1.2, label=label
        ) if known else None
    wrong = [
        (n, min(layer.introduced.sqnr_db or 0.0, _MOST_DB)) for n, layer in enumerate(layers) if layer.is_divergent
    ]
    if wrong:
        x, y = zip(*wrong, strict=True)
        axes.plot(x, y, "x", color=SERIES_COLOURS[3], markersize=10, markeredgewidth=2.5, label="at fault")
        first = short_label(layers[wrong[0][0]].layer)
        axes.annotate(first, wrong[0], (8, -12), textcoords="offset points", fontsize=9, color=SERIES_COLOURS[3])
    axes.axhline(
        divergence.limit_db, linestyle=":", color=SERIES_COLOURS[3], label=f"limit, {divergence.limit_db:.1f} dB"
    )
    _name_layers(axes, [layer.layer for layer in layers], [layer.block for layer in layers])
    axes.set_ylabel("SQNR, dB")
    axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
    return figure


def _name_layers(axes, names: list[str], blocks: list[str]) -> None:
    """Names of few layers; of many, the parts of the network they are in."""
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), list(map(short_label, names)), rotation=60, ha="right", fontsize=7)
        return
    parts = [block.split(".")[0] for block in blocks]
    starts = [n for n, part in enumerate(parts) if n == 0 or part != parts[n - 1]]
    ends = [*starts[1:], len(parts)]
    for start in starts[1:]:
        axes.axvline(start - 0.5, linewidth=0.6, alpha=0.4, color=SERIES_COLOURS[5])
    axes.set_xticks(
        [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)], [parts[n] for n in starts], fontsize=8
    )
    axes.tick_params(axis="x", length=0)
