"""Median latency: against depth for networks of one family, as bars for one network."""

from __future__ import annotations

__all__ = ["latency_charts", "series_name"]

from collections.abc import Sequence

from matplotlib.figure import Figure

from resnet_deploy.bench.rows import BenchRow
from resnet_deploy.report.figures.canvas import (
    OTHER_COLOUR,
    PRECISION_COLOURS,
    Chart,
    chart_name,
    new_canvas,
    short_label,
)
from resnet_deploy.report.networks import Network, families
from resnet_deploy.report.numbers import three_figures

_LINE_STYLES = ("-", "--", ":", "-.")
_MARKERS = "osD^v"
_COLUMNS = ("network", "backend", "precision", "batch", "p50, ms per pass", "p99, ms per pass")


def latency_charts(networks: Sequence[Network], *, batch: int) -> list[Chart]:
    """Median latency against depth for each family of several networks, else bars.

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
            lines.append(_depth_chart(together, heading, batch))
        else:
            apart = members
        bars += [_bar_chart(network, batch) for network in apart]
    return [*bars, *lines]


def series_name(row: BenchRow) -> str:
    """E.g. "onnxruntime, int8 (emulated)"."""
    return f"{short_label(_maker(row))}, {row.precision or '-'}" + (" (emulated)" if row.is_emulated else "")


def _timed(network: Network, batch: int) -> list[BenchRow]:
    """Passes alone; of several measurements of one row the first, of several numbers of threads the fastest."""
    found: dict[tuple, BenchRow] = {}
    for row in network.rows:
        if row.timing is not None and row.batch == batch and row.mode == "kernel" and row.repeat == 0:
            key = _maker(row), row.precision, row.file
            if key not in found or row.timing.p50_ms < found[key].timing.p50_ms:
                found[key] = row
    return list(found.values())


def _cells(rows: Sequence[BenchRow]) -> tuple[tuple, ...]:
    return tuple(
        (r.net, _maker(r), str(r.precision or ""), r.batch, r.timing.p50_ms, r.timing.p99_ms) for r in rows if r.timing
    )


def _depth_chart(networks: Sequence[Network], heading: str, batch: int) -> Chart:
    return Chart(
        name=chart_name("latency", f"batch{batch}", networks[0].spec.family),
        heading=f"Latency against depth, {heading}, batch {batch}",
        label=f"Median milliseconds of a pass of {batch} images against depth, a line for each backend and precision.",
        columns=_COLUMNS,
        rows=_cells([row for network in networks for row in _timed(network, batch)]),
        draw=lambda: _draw_by_depth(networks, batch),
    )


def _bar_chart(network: Network, batch: int) -> Chart:
    rows = sorted(_timed(network, batch), key=lambda row: row.timing.p50_ms)
    return Chart(
        name=chart_name("latency", f"batch{batch}", network.name, *(["untrained"] if network.is_untrained else [])),
        heading=f"Latency of {network.name}, batch {batch}",
        label=f"Median milliseconds of a pass of {batch} images as bars, the fastest first.",
        columns=_COLUMNS,
        rows=_cells(rows),
        draw=lambda: _draw_bars(rows),
    )


def _draw_by_depth(networks: Sequence[Network], batch: int) -> Figure:
    figure = new_canvas(height=4.2)
    axes = figure.add_subplot()
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
            color=PRECISION_COLOURS.get(precision, OTHER_COLOUR),
            label=series_name(points[places[0]]),
        )
    axes.set_xticks(range(len(depths)), depths)
    axes.set_xlabel("depth")
    axes.set_yscale("log")
    axes.set_ylabel("median ms per pass (log)")
    axes.grid(which="major", axis="y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _draw_bars(rows: Sequence[BenchRow]) -> Figure:
    figure = new_canvas(height=0.9 + 0.36 * len(rows))
    axes = figure.add_subplot()
    colours = [PRECISION_COLOURS.get(str(row.precision), OTHER_COLOUR) for row in rows]
    p50 = [row.timing.p50_ms for row in rows]
    bars = axes.barh(range(len(rows)), p50, color=colours, height=0.66)
    axes.bar_label(bars, [three_figures(value) for value in p50], padding=3)
    axes.set_yticks(range(len(rows)), [series_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.set_xlabel("median ms per pass")
    axes.grid(axis="x")
    return figure


def _maker(row: BenchRow) -> str:
    return row.backend if row.device.lower() in ("", "cpu") else f"{row.backend} on GPU"
