"""The report's figures, as SVG texts that take their ink from the page and so fit a light and a dark one."""

from __future__ import annotations

__all__ = ["PRECISION_COLOURS", "ScorePoint", "accuracy_plot", "curve_plot", "latency_plot", "size_plot"]

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_deploy.bench.gather import TrainingCurve
from resnet_deploy.bench.run import BenchRow

PRECISION_COLOURS = {"fp32": "#8a8f98", "fp16": "#3d8bfd", "int8": "#f28c28"}
_OTHER_COLOUR = "#20a39e"
_INK = "#123456"  # replaced by currentColor, which matplotlib does not know
_LINE_STYLES = ("-", "--", ":", "-.")
_MARKERS = "osD^v"
_RC = {
    "svg.fonttype": "path",  # the same shapes on every machine, no font needed
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorePoint:
    """Top-1 of one file with its 95 % interval, in percent."""

    label: str
    precision: str
    top1: float
    low: float
    high: float


def accuracy_plot(points: Sequence[ScorePoint]) -> str:
    """Dots with intervals; the axis is cut, which its label says. Empty text where there is nothing to draw."""
    if not points:
        return ""
    with matplotlib.rc_context(_RC):
        figure, axes = _figure(height=0.9 + 0.42 * len(points))
        for place, point in enumerate(points):
            colour = PRECISION_COLOURS.get(point.precision, _OTHER_COLOUR)
            axes.plot([point.low, point.high], [place, place], color=colour, linewidth=2)
            axes.plot([point.top1], [place], "o", color=colour, markersize=7)
            axes.annotate(f"{point.top1:.2f}", (point.top1, place), (0, 7), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(points)), [point.label for point in points])
        axes.set_ylim(len(points) - 0.5, -0.7)
        axes.set_xlabel("top-1, % (95 % interval; the axis does not start at zero)")
        axes.grid(axis="x")
        return _svg(figure, "accuracy")


def curve_plot(curves: Sequence[TrainingCurve]) -> str:
    """Training and validation error by epoch."""
    if not curves:
        return ""
    with matplotlib.rc_context(_RC):
        figure, axes = _figure(height=3.2)
        for index, curve in enumerate(curves):
            prefix = f"{curve.name} " if len(curves) > 1 else ""
            style = _LINE_STYLES[index % len(_LINE_STYLES)]
            for values, name, colour in (
                (curve.train_error, "training", PRECISION_COLOURS["fp16"]),
                (curve.val_error, "held out", PRECISION_COLOURS["int8"]),
            ):
                known = [(e, v) for e, v in zip(curve.epochs, values, strict=True) if v is not None]
                if known:
                    x, y = zip(*known, strict=True)
                    marker = "." if len(known) < 40 else None
                    axes.plot(x, y, style, color=colour, label=f"{prefix}{name}", marker=marker)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel("top-1 error, %")
        axes.grid()
        axes.legend()
        return _svg(figure, "curves")


def size_plot(sizes: Sequence[tuple[str, str, float]]) -> str:
    """Horizontal bars of (label, precision, MiB), from zero."""
    if not sizes:
        return ""
    with matplotlib.rc_context(_RC):
        figure, axes = _figure(height=0.8 + 0.3 * len(sizes))
        colours = [PRECISION_COLOURS.get(precision, _OTHER_COLOUR) for _, precision, _ in sizes]
        bars = axes.barh(range(len(sizes)), [mib for _, _, mib in sizes], color=colours, height=0.66)
        axes.bar_label(bars, [f"{mib:.3g}" for _, _, mib in sizes], padding=3)
        axes.set_yticks(range(len(sizes)), [label for label, _, _ in sizes])
        axes.set_ylim(len(sizes) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel("MiB")
        axes.grid(axis="x")
        return _svg(figure, "sizes")


def latency_plot(rows: Sequence[BenchRow], *, batch: int) -> str:
    """Median latency at one batch size: against depth where there are several networks, else as bars."""
    timed = [row for row in rows if row.timing is not None and row.batch == batch]
    if not timed:
        return ""
    with matplotlib.rc_context(_RC):
        if len({row.net for row in timed}) > 1:
            figure = _latency_by_depth(timed)
        else:
            figure = _latency_bars(timed)
        return _svg(figure, f"latency{batch}")


def _latency_by_depth(rows: Sequence[BenchRow]) -> Figure:
    figure, axes = _figure(height=3.8)
    nets = sorted({row.net for row in rows}, key=lambda net: (_depth(net), net))
    backends = sorted({row.backend for row in rows})
    names = {(row.backend, str(row.precision)): _series_name(row) for row in rows}
    for backend, precision in sorted(names):
        own = {row.net: row.timing.p50_ms for row in rows if (row.backend, str(row.precision)) == (backend, precision)}
        index = backends.index(backend)
        axes.plot(
            [nets.index(net) for net in nets if net in own],
            [own[net] for net in nets if net in own],
            _LINE_STYLES[index % len(_LINE_STYLES)],
            marker=_MARKERS[index % len(_MARKERS)],
            color=PRECISION_COLOURS.get(precision, _OTHER_COLOUR),
            label=names[backend, precision],
        )
    axes.set_xticks(range(len(nets)), nets)
    axes.set_yscale("log")
    _plain_log_ticks(axes)
    axes.set_ylabel("median ms per pass (log)")
    axes.grid(which="both", axis="y")
    axes.legend(fontsize=8, ncols=2)
    return figure


def _latency_bars(rows: Sequence[BenchRow]) -> Figure:
    figure, axes = _figure(height=0.8 + 0.36 * len(rows))
    ordered = sorted(rows, key=lambda row: (row.backend, str(row.precision)))
    colours = [PRECISION_COLOURS.get(str(row.precision), _OTHER_COLOUR) for row in ordered]
    p50 = [row.timing.p50_ms for row in ordered]
    bars = axes.barh(range(len(ordered)), p50, color=colours, height=0.66)
    axes.bar_label(bars, [f"{value:.3g}" for value in p50], padding=3)
    axes.set_yticks(range(len(ordered)), [_series_name(row) for row in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("median ms per pass")
    axes.grid(axis="x")
    return figure


def _series_name(row: BenchRow) -> str:
    return f"{row.backend} {row.precision}" + (" (emulated)" if row.is_emulated else "")


def _plain_log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _depth(net: str) -> int:
    match = re.search(r"(\d+)", net)
    return int(match[1]) if match else 0


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    out = io.StringIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": name}
    ):  # names inside differ from figure to figure, not from run to run
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # the page scales it by its viewBox
    return f"{head}>{rest}".replace(_INK, "currentColor")
