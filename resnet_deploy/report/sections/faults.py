"""Where it breaks: the error of every layer, the first at fault, and the layers a bisection found."""

from __future__ import annotations

__all__ = ["fault_section"]

from typing import Any

from resnet_deploy.core.score import Score
from resnet_deploy.report.documents import Document
from resnet_deploy.report.figures.divergence import divergence_chart
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.verify.faults.bisection_result import Bisection
from resnet_deploy.verify.faults.divergence_result import Divergence

_MOST_LAYERS = 12


def fault_section(material: Material) -> Section | None:
    """Comparisons by layer, then bisections; None with neither."""
    divergences, bisections = material.findings.divergences, material.findings.bisections
    if not divergences and not bisections:
        return None
    return Section(
        name="faults",
        title="Layers",
        heading="Where does it break?",
        data={
            "divergences": [{"document": d, "worst": _worst(d.result)} for d in divergences],
            "bisections": [_bisection(d) for d in bisections],
        },
        charts=tuple(divergence_chart(document.result) for document in divergences),
    )


def _worst(divergence: Divergence) -> list[Any]:
    """Layers at fault, else those that add most; in the graph's order."""
    ranked = sorted(divergence.layers, key=lambda layer: _db(layer.introduced.sqnr_db))[:_MOST_LAYERS]
    chosen = divergence.at_fault[:_MOST_LAYERS] or tuple(ranked)
    return [layer for layer in divergence.layers if layer in chosen]


def _db(value: float | None) -> float:
    return float("-inf") if value is None else value


def _bisection(document: Document[Bisection]) -> dict[str, Any]:
    result = document.result
    scores = [
        ("the candidate as it is", result.candidate_score),
        ("with these layers of the reference", result.hybrid_score),
    ]
    if result.requantized_score is not None:
        scores.append((f"quantised anew without them ({result.requantized})", result.requantized_score))
    return {"document": document, "scores": [(what, *_cells(score, result)) for what, score in scores]}


def _cells(score: Score, result: Bisection) -> tuple:
    """Agreement or drop with its interval, by the metric of the search."""
    if result.metric == "agreement":
        return 100 * score.agreement, 100 * score.agreement_low, 100 * score.agreement_high
    return score.drop, score.drop_low, score.drop_high
