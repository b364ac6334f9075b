"""How training went."""

from __future__ import annotations

__all__ = ["training_section"]

from resnet_deploy.report.figures.training import training_chart
from resnet_deploy.report.sections.section import Material, Section


def training_section(material: Material) -> Section | None:
    """The curves; None where nothing was trained here."""
    chart = training_chart(material.findings.curves)
    if chart is None:
        return None
    rows = []
    for curve in material.findings.curves:
        errors = [error for error in curve.val_error if error is not None]
        rows.append((curve.name, curve.epochs[-1], curve.train_error[-1], errors[-1] if errors else None))
    return Section(name="training", title="Training", heading="Training", data={"rows": rows}, charts=(chart,))
