"""The roofline plot: operations a second against operations a byte, a roof for each precision, layers as dots."""

from __future__ import annotations

__all__ = ["RooflineDot", "RooflinePanel", "draw_rooflines"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_AREA, _AREA = 10.0, 400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RooflineDot:
    """A layer, or a network that was measured.

    Attributes:
        group: What its colour says, e.g. the stage.
        roof: Label of the roof that it is under.
        intensity: Operations a byte.
        tera_operations: 1e12 operations a second.
        share: Share of the network's time, which gives its area.
        is_measured: Drawn as a black cross.
    """

    group: str
    roof: str
    intensity: float
    tera_operations: float
    share: float = 0.0
    is_measured: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RooflinePanel:
    """One GPU.

    Attributes:
        gb_per_s: Slope of every roof, 1e9 bytes a second.
        roofs: Label -> peak in 1e12 operations a second.
    """

    title: str
    gb_per_s: float
    roofs: dict[str, float]
    dots: tuple[RooflineDot, ...]


def draw_rooflines(panels: Sequence[RooflinePanel], *, title: str) -> Figure:
    """A column for each GPU, a row for each roof; the same axes everywhere."""
    labels = list(dict.fromkeys(label for panel in panels for label in panel.roofs))
    groups = list(dict.fromkeys(dot.group for panel in panels for dot in panel.dots if not dot.is_measured))
    colours = {group: PALETTE[index % len(PALETTE)] for index, group in enumerate(groups)}
    figure = new_figure(width=1.2 + max(5.0, 3.6 * len(panels)), height=1.0 + 2.2 * len(labels))
    axes = figure.subplots(len(labels), len(panels), sharex=True, sharey=True, squeeze=False)
    for row, label in zip(axes, labels, strict=True):
        for axis, panel in zip(row, panels, strict=True):
            if label in panel.roofs:
                _draw_roof(axis, panel, label, colours, _intensities(panels))
            else:
                axis.set_title(f"{panel.title}: no {label}", fontsize=9)
        row[0].set_ylabel(f"{label}: 1e12 operations/s", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("operations a byte", fontsize=8)
    for group, colour in colours.items():
        axes[0][-1].plot([], [], "o", color=colour, ms=5, label=group)
    if any(dot.is_measured for panel in panels for dot in panel.dots):
        axes[0][-1].plot([], [], "X", color="black", ms=6, label="network, measured")
    figure.legend(*axes[0][-1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_roof(
    axis: Axes, panel: RooflinePanel, label: str, colours: dict[str, str], limits: tuple[float, float]
) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    peak, (low, high) = panel.roofs[label], limits
    ridge = peak * 1e3 / panel.gb_per_s
    axis.plot([low, ridge, high], [low * panel.gb_per_s / 1e3, peak, peak], color="#555555", lw=1.2)
    axis.axvline(ridge, color="#999999", lw=0.8, ls=":")
    for dot in (dot for dot in panel.dots if dot.roof == label):
        look = {"marker": "X", "s": 80, "color": "black"}
        if not dot.is_measured:
            look = {"marker": "o", "s": _LEAST_AREA + _AREA * dot.share, "color": colours[dot.group], "alpha": 0.6}
        axis.scatter([dot.intensity], [dot.tera_operations], edgecolors="white", lw=0.4, zorder=3, **look)
    axis.set_xlim(low, high)
    axis.set_title(f"{panel.title}, {label}: peak {peak:g}, ridge {ridge:.0f}", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3, which="both", lw=0.4)


def _intensities(panels: Sequence[RooflinePanel]) -> tuple[float, float]:
    """The range of the x axis: all dots and all ridges, and some room."""
    found = [dot.intensity for panel in panels for dot in panel.dots]
    found += [peak * 1e3 / panel.gb_per_s for panel in panels for peak in panel.roofs.values()]
    return min(found) / 2, max(found) * 3
