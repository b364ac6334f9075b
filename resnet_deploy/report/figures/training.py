"""Training and held-out error by epoch."""

from __future__ import annotations

__all__ = ["training_chart"]

from collections.abc import Sequence

from matplotlib.figure import Figure

from resnet_deploy.report.documents import TrainingCurve
from resnet_deploy.report.figures.canvas import SERIES_COLOURS, Chart, new_canvas

_STYLES = ("-", "--", ":", "-.")


def training_chart(curves: Sequence[TrainingCurve]) -> Chart | None:
    """Lines of both errors; None where nothing was trained."""
    if not curves:
        return None
    rows = [
        (curve.name, epoch, train, held_out)
        for curve in curves
        for epoch, train, held_out in zip(curve.epochs, curve.train_error, curve.val_error, strict=True)
    ]
    return Chart(
        name="training",
        heading="Training",
        label="Top-1 error in training and on held-out images, by epoch.",
        columns=("network", "epoch", "training error, %", "held-out error, %"),
        rows=tuple(rows),
        draw=lambda: _draw(curves),
    )


def _draw(curves: Sequence[TrainingCurve]) -> Figure:
    figure = new_canvas(height=3.2)
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        prefix = f"{curve.name} " if len(curves) > 1 else ""
        style = _STYLES[index % len(_STYLES)]
        for values, name, colour in (
            (curve.train_error, "training", SERIES_COLOURS[0]),
            (curve.val_error, "held out", SERIES_COLOURS[1]),
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
    return figure
