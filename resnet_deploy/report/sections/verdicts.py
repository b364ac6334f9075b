"""Does it still classify like the network it was made from?"""

from __future__ import annotations

__all__ = ["agreement_of", "verdict_section"]

from collections.abc import Sequence
from pathlib import Path

from resnet_deploy.core.metrics import wilson_interval
from resnet_deploy.report.documents import Document
from resnet_deploy.report.figures.accuracy import ScorePoint, accuracy_chart
from resnet_deploy.report.numbers import plural
from resnet_deploy.report.sections.section import Material, Section
from resnet_deploy.verify.verdict import Side, Verdict


def verdict_section(material: Material) -> Section | None:
    """Every verdict with both scores, what was checked, and the limits; None without one."""
    documents = [document for network in material.networks for document in network.verdicts]
    if not documents:
        return None
    results = [document.result for document in documents]
    bad = {text for verdict in results for text in verdict.bad_images}
    chart = accuracy_chart(_score_points(results))
    return Section(
        name="verdicts",
        title="Verdicts",
        heading="Does it still classify like the network it was made from?",
        data={
            "rows": [{"verdict": d.result, "state": _state(d), "same": agreement_of(d.result)} for d in documents],
            "check_names": list(dict.fromkeys(check.name for verdict in results for check in verdict.checks)),
            "notes": list(dict.fromkeys(note for verdict in results for note in verdict.notes)),
            "bad_images": plural(len(bad), "image") if bad else "",
        },
        charts=(chart,) if chart else (),
    )


def agreement_of(verdict: Verdict) -> dict[str, float] | None:
    """The share of images with the same first class, its count and its 95 % Wilson interval, in percent."""
    share = verdict.parity.top1_agreement
    if share is None or not verdict.num_images:
        return None
    hits = round(share * verdict.num_images)
    low, high = wilson_interval(hits, verdict.num_images)
    return {"percent": 100 * share, "hits": hits, "low": 100 * low, "high": 100 * high}


def _state(document: Document[Verdict]) -> str:
    if document.is_stale:
        return "out of date"
    return "passed" if document.result.passed else "FAILED"


def _score_points(verdicts: Sequence[Verdict]) -> list[ScorePoint]:
    """Every file once; references that are no candidates themselves come first."""

    def key(side: Side, verdict: Verdict) -> tuple:
        return side.sha256, side.backend, verdict.data

    candidates = {key(v.candidate, v) for v in verdicts}
    references = {key(v.reference, v): v.reference for v in verdicts if key(v.reference, v) not in candidates}
    sides = [*references.values(), *(v.candidate for v in verdicts)]
    return [
        ScorePoint(
            label=f"{Path(side.file).name}\n{side.backend}",
            precision=str(side.precision or ""),
            top1=side.accuracy.top1_percent,
            low=side.accuracy.top1_low,
            high=side.accuracy.top1_high,
        )
        for side in sides
        if side.accuracy is not None
    ]
