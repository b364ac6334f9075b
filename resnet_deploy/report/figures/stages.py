"""What a whole request is made of."""

from __future__ import annotations

__all__ = ["stage_chart"]

from collections.abc import Sequence

from matplotlib.figure import Figure

from resnet_deploy.bench.rows import BenchRow
from resnet_deploy.report.figures.canvas import SERIES_COLOURS, Chart, new_canvas, short_label
from resnet_deploy.report.numbers import three_figures


def stage_chart(rows: Sequence[BenchRow]) -> Chart | None:
    """A bar of stacked stages for each row in application mode; None without one."""
    rows = [row for row in rows if row.application is not None]
    if not rows:
        return None
    cells = [
        (row.net, row.backend, str(row.precision or ""), row.batch, stage.name, stage.p50_ms, 100 * stage.share)
        for row in rows
        for stage in row.application.stages
    ]
    return Chart(
        name="stages",
        heading="What a request is made of",
        label="Median milliseconds of every stage of a request, from the bytes of a JPEG file to the five best "
        "classes, one behind the other.",
        columns=("network", "backend", "precision", "batch", "stage", "p50, ms", "share, %"),
        rows=tuple(cells),
        draw=lambda: _draw(rows),
    )


def _draw(rows: Sequence[BenchRow]) -> Figure:
    figure = new_canvas(height=1.5 + 0.4 * len(rows))
    axes = figure.add_subplot()
    names = list(dict.fromkeys(stage.name for row in rows for stage in row.application.stages))
    for place, row in enumerate(rows):
        left = 0.0
        for stage in row.application.stages:
            colour = SERIES_COLOURS[names.index(stage.name) % len(SERIES_COLOURS)]
            axes.barh([place], [stage.p50_ms], left=left, height=0.6, color=colour)
            left += stage.p50_ms
        axes.annotate(three_figures(left), (left, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(
        range(len(rows)),
        [f"{short_label(r.net)} {r.precision or ''}\n{short_label(r.backend)}, batch {r.batch}" for r in rows],
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("median ms per request")
    axes.grid(axis="x")
    from matplotlib.patches import Patch

    handles = [Patch(color=SERIES_COLOURS[i % len(SERIES_COLOURS)], label=name) for i, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    return figure
