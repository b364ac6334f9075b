"""Pictures of networks layer by layer: responses (the paper's Fig. 7) and gradient norms."""

from __future__ import annotations

__all__ = ["colours_by_depth", "draw_gradients", "draw_responses"]

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_deploy.draw.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from resnet_deploy.analyze.gradients import GradientReport
    from resnet_deploy.analyze.responses import ResponseReport

_WIDTH, _HEIGHT = 8.0, 6.4


def draw_responses(report: ResponseReport) -> Figure:
    """Standard deviations in layer order above, sorted by size below; plain nets dashed, residual ones solid."""
    figure, (above, below) = _two_panels(f"Layer responses on {report.data}")
    colours = colours_by_depth([(net.net, net.residual) for net in report.nets])
    largest = max((layer.std for net in report.nets for layer in net.layers if math.isfinite(layer.std)), default=1.0)
    for colour, net in zip(colours, report.nets, strict=True):
        values = [layer.std for layer in net.layers]
        style = _style(colour, net.residual, len(values))
        places = range(1, len(values) + 1)
        above.plot(places, values, label=f"{net.label} (mean {net.mean_std:.3g})", **style)
        below.plot(places, sorted(values, reverse=True), **style)
    above.set_xlabel("3x3 layer, from input to output")
    below.set_xlabel("3x3 layers, sorted by size")
    for axes in (above, below):
        axes.set_ylabel("std of the response")
        axes.set_ylim(0, 1.08 * largest)
        _finish(axes, max(len(net.layers) for net in report.nets))
    _legend_below(figure, above)
    return figure


def draw_gradients(report: GradientReport) -> Figure:
    """Gradient norms of the weighted layers above, relative to the weights' own norms below; both logarithmic.

    Shortcut projections are in the numbers but not in the picture, so that a plain net and its residual
    counterpart have the same layers at the same place.
    """
    figure, (above, below) = _two_panels(f"Gradient of the training loss on {report.data}")
    colours = colours_by_depth([(net.net, net.residual) for net in report.nets])
    longest = 1
    for colour, net in zip(colours, report.nets, strict=True):
        layers = [layer for layer in net.layers if not layer.is_projection]
        longest = max(longest, len(layers))
        style = _style(colour, net.residual, len(layers))
        for axes, values, label in (
            (above, [layer.gradient_norm for layer in layers], f"{net.label} ({net.weights})"),
            (below, [layer.relative_norm for layer in layers], None),
        ):
            # a logarithmic axis has no place for zero; a gap shows it
            axes.plot(range(1, len(layers) + 1), [v if v else float("nan") for v in values], label=label, **style)
    above.set_ylabel("L2 norm of the weight gradient")
    below.set_ylabel("gradient norm / weight norm")
    for axes in (above, below):
        axes.set_yscale("log")
        _plain_log_ticks(axes)
        axes.set_xlabel("weighted layer, from input to output")
        _finish(axes, longest)
    _legend_below(figure, above)
    return figure


def colours_by_depth(nets: Sequence[tuple[str, bool | None]]) -> list[int]:
    """A colour number for each (name, residual): nets of one depth share it, as in the paper's Fig. 6.

    Two of one depth that are both plain or both residual do not share it: nothing else would tell them apart.
    """
    numbers: dict[tuple[str, int], int] = {}
    seen: Counter[tuple[str, bool | None]] = Counter()
    result = []
    for name, residual in nets:
        match = re.search(r"\d+", name)
        depth = match[0] if match else name
        result.append(numbers.setdefault((depth, seen[depth, residual]), len(numbers)))
        seen[depth, residual] += 1
    return result


def _two_panels(title: str) -> tuple[Figure, Sequence[Axes]]:
    figure = new_figure(width=_WIDTH, height=_HEIGHT)
    figure.suptitle(title, fontsize=11)
    return figure, figure.subplots(2, 1)


def _style(colour: int, residual: bool, num_layers: int) -> dict[str, Any]:
    few = {"marker": "o", "ms": 4} if num_layers <= 60 else {}
    line = {"ls": "-", "lw": 1.8} if residual else {"ls": "--", "lw": 1.2}
    return {"color": PALETTE[colour % len(PALETTE)], **line, **few}


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Below both panels, where no line runs; as many names side by side as fit at about 8 dots a letter."""
    handles, labels = axes.get_legend_handles_labels()
    fitting = int(_WIDTH * figure.dpi * 0.95) // (8 * max(map(len, labels)) + 60)
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(fitting, len(labels))), fontsize=9)


def _plain_log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)  # over more decades the letters would overlap
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, num_layers: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, num_layers + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
