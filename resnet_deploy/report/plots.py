"""The report's figures, as SVG texts that take their ink from the page and so fit a light and a dark one."""

from __future__ import annotations

__all__ = [
    "PRECISION_COLOURS",
    "ScorePoint",
    "accuracy_plot",
    "curve_plot",
    "latency_plots",
    "size_plot",
    "three_figures",
]

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resnet_deploy.bench.run import BenchRow
from resnet_deploy.core.specs import Precision
from resnet_deploy.report.gather import TrainingCurve
from resnet_deploy.report.networks import Network, families, precisions_of

PRECISION_COLOURS = {"fp32": "#8a8f98", "fp16": "#3d8bfd", "bf16": "#7b61c9", "int8": "#f28c28", "fp8": "#c2476b"}
_OTHER_COLOUR = "#20a39e"
_WIDTH = 5.4  # inches; scaled to the page, so that letters stay legible on a phone
_MIB = 2**20
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


def size_plot(networks: Sequence[Network]) -> str:
    """Bars of MiB from zero, ONNX files beside engines; each family has its own axis, so a small one stays readable."""
    kinds = [(k, title) for k, title in (("onnx", "ONNX"), ("engine", "engine")) if any(n.files(k) for n in networks)]
    groups = [members for _, members in families(n for n in networks if any(n.files(kind) for kind, _ in kinds))]
    if not groups:
        return ""
    precisions = precisions_of(networks)
    with matplotlib.rc_context(_RC):
        height = 0.95 + sum(0.4 + 0.52 * len(members) for members in groups)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        ratios = [len(members) + 0.3 for members in groups]
        grid = figure.subplots(len(groups), len(kinds), squeeze=False, height_ratios=ratios)
        for line, members in zip(grid, groups, strict=True):
            for axes, (kind, _) in zip(line, kinds, strict=True):
                _size_bars(axes, members, kind, precisions)
                axes.set_yticks(range(len(members)), [n.name if axes is line[0] else "" for n in members])
        for axes, (_, title) in zip(grid[0], kinds, strict=True):
            axes.set_title(f"{title}, MiB", fontsize=10)
        _precision_legend(figure, precisions)
        return _svg(figure, "sizes")


def _size_bars(axes: Axes, members: Sequence[Network], kind: str, precisions: Sequence[Precision]) -> None:
    step = 0.81 / len(precisions)
    for place, precision in enumerate(precisions):
        offset = step * (place - (len(precisions) - 1) / 2)
        sizes = [(i, network.file(kind, precision)) for i, network in enumerate(members)]
        known = [(i, manifest.size_bytes / _MIB) for i, manifest in sizes if manifest]
        bars = axes.barh(
            [i + offset for i, _ in known],
            [v for _, v in known],
            color=PRECISION_COLOURS[str(precision)],
            height=0.92 * step,
        )
        axes.bar_label(bars, [three_figures(value) for _, value in known], padding=2, fontsize=8)
    axes.set_ylim(len(members) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.margins(x=0.2)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def latency_plots(networks: Sequence[Network], *, batch: int) -> list[tuple[str, str]]:
    """(heading, SVG) per figure: median latency against depth for each family of several networks, else bars.

    Where a family holds one depth twice, trained and random, the trained one gets bars and leaves the line.
    """
    lines, bars = [], []
    timed = [network for network in networks if _timed(network, batch)]
    for heading, members in families(timed):
        twice = {n.spec.depth for n in members if n.spec and not n.is_untrained} & {
            n.spec.depth for n in members if n.spec and n.is_untrained
        }
        apart = [n for n in members if not n.spec or (n.spec.depth in twice and not n.is_untrained)]
        together = [network for network in members if network not in apart]
        if len(together) > 1:
            lines.append((f"Latency against depth, {heading}, batch {batch}", _latency_by_depth(together, batch)))
        else:
            apart = members
        bars += [(f"Latency of {network.name}, batch {batch}", _latency_bars(network, batch)) for network in apart]
    return [*bars, *lines]


def _timed(network: Network, batch: int) -> list[BenchRow]:
    return [row for row in network.rows if row.timing is not None and row.batch == batch]


def _latency_by_depth(networks: Sequence[Network], batch: int) -> str:
    with matplotlib.rc_context(_RC):
        figure, axes = _figure(height=3.9)
        depths = sorted({network.spec.depth for network in networks})
        series: dict[tuple, dict[int, BenchRow]] = {}
        for network in networks:
            for row in _timed(network, batch):
                series.setdefault((_maker(row), str(row.precision)), {})[depths.index(network.spec.depth)] = row
        makers = list(dict.fromkeys(maker for maker, _ in series))
        for (maker, precision), points in sorted(series.items(), key=lambda item: makers.index(item[0][0])):
            index = makers.index(maker)
            places = sorted(points)
            axes.plot(
                places,
                [points[place].timing.p50_ms for place in places],
                _LINE_STYLES[index % len(_LINE_STYLES)],
                marker=_MARKERS[index % len(_MARKERS)],
                color=PRECISION_COLOURS.get(precision, _OTHER_COLOUR),
                label=_series_name(points[places[0]]),
            )
        axes.set_xticks(range(len(depths)), depths)
        axes.set_xlabel("depth")
        axes.set_yscale("log")
        _plain_log_ticks(axes)
        axes.set_ylabel("median ms per pass (log)")
        axes.grid(which="major", axis="y")
        axes.legend(fontsize=8)
        return _svg(figure, f"latency{batch}-{networks[0].name}")


def _latency_bars(network: Network, batch: int) -> str:
    rows = _timed(network, batch)
    with matplotlib.rc_context(_RC):
        figure, axes = _figure(height=0.8 + 0.36 * len(rows))
        colours = [PRECISION_COLOURS.get(str(row.precision), _OTHER_COLOUR) for row in rows]
        p50 = [row.timing.p50_ms for row in rows]
        bars = axes.barh(range(len(rows)), p50, color=colours, height=0.66)
        axes.bar_label(bars, [three_figures(value) for value in p50], padding=3)
        axes.set_yticks(range(len(rows)), [_series_name(row) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel("median ms per pass")
        axes.grid(axis="x")
        return _svg(figure, f"bars{batch}-{network.name}")


def _precision_legend(figure: Figure, precisions: Sequence[Precision]) -> None:
    handles = [Patch(color=PRECISION_COLOURS[str(p)], label=str(p).upper()) for p in precisions]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)


def three_figures(value: float) -> str:
    """0.541, 45.0, 170: three figures, no fewer, so that a column of them lines up."""
    if not 1e-3 <= value < 999.5:
        return f"{value:,.0f}" if value >= 1 else f"{value:.3g}"
    return f"{value:#.3g}".rstrip(".")


def _maker(row: BenchRow) -> str:
    return row.backend if row.device.lower() in ("", "cpu") else f"{row.backend} on GPU"


def _series_name(row: BenchRow) -> str:
    return f"{_maker(row)}, {row.precision}" + (" (emulated)" if row.is_emulated else "")


def _plain_log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
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
