"""What the files weigh."""

from __future__ import annotations

__all__ = ["size_chart"]

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resnet_deploy.core.specs import Precision
from resnet_deploy.report.figures.canvas import PRECISION_COLOURS, Chart, new_canvas, short_label
from resnet_deploy.report.networks import Network, families, precisions_of
from resnet_deploy.report.numbers import MIB, three_figures

_KINDS = (("onnx", "ONNX"), ("engine", "engine"))


def size_chart(networks: Sequence[Network]) -> Chart | None:
    """Bars of MiB from zero, ONNX files beside engines; each family has its own axis, so a small one stays readable."""
    kinds = [(kind, title) for kind, title in _KINDS if any(n.files(kind) for n in networks)]
    groups = [members for _, members in families(n for n in networks if any(n.files(kind) for kind, _ in kinds))]
    if not groups:
        return None
    precisions = precisions_of(networks)
    rows = [
        (network.name, title, str(precision), round(manifest.size_bytes / MIB, 4))
        for members in groups
        for network in members
        for kind, title in kinds
        for precision in precisions
        if (manifest := network.file(kind, precision))
    ]
    return Chart(
        name="sizes",
        heading="Size on disk",
        label="Sizes of the ONNX files and engines of every network and precision as bars.",
        columns=("network", "file", "precision", "MiB"),
        rows=tuple(rows),
        draw=lambda: _draw(groups, kinds, precisions),
    )


def _draw(
    groups: Sequence[Sequence[Network]], kinds: Sequence[tuple[str, str]], precisions: Sequence[Precision]
) -> Figure:
    figure = new_canvas(height=0.95 + sum(0.4 + 0.52 * len(members) for members in groups))
    ratios = [len(members) + 0.3 for members in groups]
    grid = figure.subplots(len(groups), len(kinds), squeeze=False, height_ratios=ratios)
    for row, members in zip(grid, groups, strict=True):
        for axes, (kind, _) in zip(row, kinds, strict=True):
            _draw_group(axes, members, kind, precisions)
            axes.set_yticks(
                range(len(members)), [short_label(n.name) for n in members] if axes is row[0] else [""] * len(members)
            )
    for axes, (_, title) in zip(grid[0], kinds, strict=True):
        axes.set_title(title, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("MiB")
    handles = [Patch(color=PRECISION_COLOURS[str(p)], label=str(p).upper()) for p in precisions]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    return figure


def _draw_group(axes: Axes, members: Sequence[Network], kind: str, precisions: Sequence[Precision]) -> None:
    step = 0.81 / len(precisions)
    for place, precision in enumerate(precisions):
        offset = step * (place - (len(precisions) - 1) / 2)
        sizes = [(i, network.file(kind, precision)) for i, network in enumerate(members)]
        known = [(i, manifest.size_bytes / MIB) for i, manifest in sizes if manifest]
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
