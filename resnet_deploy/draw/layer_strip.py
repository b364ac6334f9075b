"""A network's layers in order: how much each multiplies, in which type it reads and writes, and what runs in between."""

from __future__ import annotations

__all__ = ["DrawnAddition", "DrawnConversion", "DrawnLayer", "draw_layer_strip"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "int8": PALETTE[2],
    "fp8": PALETTE[5],
    "fp16": PALETTE[4],
    "bf16": PALETTE[3],
    "fp32": PALETTE[1],
}
_UNKNOWN, _OTHER = "#e0e0e0", PALETTE[7]
_MIB = 2**20
_MOST_GROUPS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnLayer:
    """A convolution or matrix product; a type is empty where it is not known or does not matter.

    Attributes:
        size: Height of its bar, e.g. millions of multiply-adds.
        is_missed: It is outlined.
    """

    name: str
    size: float
    asked_in: str
    reads: str
    asked_out: str
    writes: str
    is_missed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnConversion:
    """A kernel that changes type or layout; it stands before layer number `position`."""

    position: int
    num_bytes: int
    writes: str
    changes_type: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnAddition:
    """A residual addition behind layer number `position` - 1; `fused` is None where it is not known."""

    position: int
    asked: bool
    fused: bool | None


def draw_layer_strip(
    layers: Sequence[DrawnLayer],
    *,
    conversions: Sequence[DrawnConversion] = (),
    additions: Sequence[DrawnAddition] = (),
    size_label: str,
    title: str,
) -> Figure:
    """Bars of size in the colour of the type that is read, strips of types under them, conversions at the bottom.

    Strips of which every cell is empty are left out, and so are conversions where there are none.
    """
    strips = [
        (label, cells)
        for label, cells in (
            ("asked to read", [layer.asked_in for layer in layers]),
            ("reads", [layer.reads for layer in layers]),
            ("asked to write", [layer.asked_out for layer in layers]),
            ("writes", [layer.writes for layer in layers]),
        )
        if any(cells)
    ]
    num_rows = len(strips) + bool(additions)
    figure = new_figure(width=max(8.5, min(15.0, 3.5 + 0.075 * len(layers))), height=3.4 + 0.24 * num_rows + 1.3)
    ratios = [2.9, 0.24 * num_rows, *([1.3] if conversions else [])]
    panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
    _draw_bars(panels[0], layers, size_label)
    _draw_strips(panels[1], strips, additions, len(layers))
    if conversions:
        _draw_conversions(panels[2], conversions)
    _mark_groups(panels, [layer.name for layer in layers])
    panels[0].set_title(title, loc="left", fontsize=11)
    panels[0].set_xlim(-1.2, len(layers) + 0.2)
    _add_legend(figure, layers, conversions, additions)
    return figure


def _colour(dtype: str) -> str:
    return _COLOURS.get(dtype, _OTHER) if dtype else _UNKNOWN


def _draw_bars(axes: Axes, layers: Sequence[DrawnLayer], size_label: str) -> None:
    axes.bar(
        range(len(layers)),
        [layer.size for layer in layers],
        width=0.86,
        color=[_colour(layer.reads or layer.asked_in) for layer in layers],
        edgecolor=["black" if layer.is_missed else "none" for layer in layers],
        linewidth=[1.2 if layer.is_missed else 0.0 for layer in layers],
    )
    axes.set_ylabel(size_label, fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_strips(
    axes: Axes, strips: Sequence[tuple[str, Sequence[str]]], additions: Sequence[DrawnAddition], count: int
) -> None:
    for row, (_, cells) in enumerate(strips):
        axes.barh(
            [row] * count,
            [0.9] * count,
            height=0.72,
            left=[index - 0.45 for index in range(count)],
            color=[_colour(cell) if cell else "white" for cell in cells],
        )
    labels = [label for label, _ in strips]
    if additions:
        for addition in additions:
            done = addition.asked if addition.fused is None else addition.fused
            marker, colour = ("o", PALETTE[0]) if done else ("x", "black")
            axes.plot(
                [addition.position - 1], [len(labels)], marker, ms=4, color=colour, mew=1.3, mfc=colour, ls="none"
            )
        labels.append("additions")
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_conversions(axes: Axes, conversions: Sequence[DrawnConversion]) -> None:
    # several may stand before one layer: side by side there
    at = {place: [c for c in conversions if c.position == place] for place in sorted({c.position for c in conversions})}
    for place, group in at.items():
        for index, conversion in enumerate(group):
            x = place - 0.5 + (index - (len(group) - 1) / 2) * 0.8 / len(group)
            colour = _colour(conversion.writes)
            axes.bar(
                [x],
                [conversion.num_bytes / _MIB],
                width=0.5 / len(group),
                color=colour if conversion.changes_type else "white",
                edgecolor=colour,
                linewidth=0.8,
            )
    axes.set_ylabel("conversions\nMiB moved", fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_groups(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Lines and names where the first part of a layer's name changes, such as layer1, layer2."""
    parts = [name.strip("/").replace("/", ".").split(".")[0] for name in names]
    starts = [index for index, part in enumerate(parts) if index == 0 or part != parts[index - 1]]
    if len(starts) > _MOST_GROUPS:
        panels[-1].set_xlabel("number of the layer", fontsize=9)
        return
    for axes in panels:
        for start in starts[1:]:
            axes.axvline(start - 0.5, color="black", lw=0.6, alpha=0.35)
    ends = [*starts[1:], len(names)]
    panels[-1].set_xticks([(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)])
    panels[-1].set_xticklabels([parts[start] for start in starts], fontsize=9)
    for axes in panels:
        axes.tick_params(axis="x", length=0)


def _add_legend(
    figure: Figure,
    layers: Sequence[DrawnLayer],
    conversions: Sequence[DrawnConversion],
    additions: Sequence[DrawnAddition],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {dtype for layer in layers for dtype in (layer.asked_in, layer.reads, layer.asked_out, layer.writes)}
    used |= {conversion.writes for conversion in conversions}
    handles: list = [Patch(color=_colour(dtype), label=dtype) for dtype in _COLOURS if dtype in used]
    handles += [Patch(color=_OTHER, label=dtype) for dtype in sorted(used - set(_COLOURS) - {""})]
    if any(layer.is_missed for layer in layers):
        handles.append(Patch(facecolor="white", edgecolor="black", linewidth=1.2, label="not as asked"))
    if any(not conversion.changes_type for conversion in conversions):
        handles.append(Patch(facecolor="white", edgecolor=_OTHER, label="layout only"))
    done = {addition.asked if addition.fused is None else addition.fused for addition in additions}
    if True in done:
        handles.append(Line2D([], [], marker="o", ls="none", color=PALETTE[0], ms=4, label="addition fused"))
    if False in done:
        handles.append(Line2D([], [], marker="x", ls="none", color="black", ms=4, label="addition alone"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8.5, frameon=False)
