"""What a deployment says beside its verdicts: where a drop comes from, which layer makes it, and what a GPU could do."""

from __future__ import annotations

__all__ = ["gather_evidence"]

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_deploy.bench.roofline.estimate import EstimateOptions, estimate, estimate_record, write_estimate
from resnet_deploy.core.artifacts import is_up_to_date
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import net_of_depth
from resnet_deploy.pipeline.artifacts import NetFiles
from resnet_deploy.pipeline.attribution.attribute import AttributeOptions, attribute
from resnet_deploy.pipeline.faults.divergence import DivergeOptions, diverge
from resnet_deploy.pipeline.onnx_files import StageRow
from resnet_deploy.pipeline.plan import DeployPlan


def gather_evidence(
    plan: DeployPlan, files: NetFiles, *, force: bool = False, progress: Progress = NO_PROGRESS
) -> list[StageRow]:
    """Write what `[evidence]` of a plan asks for, and say what became of it.

    The file that is explained is the ONNX file of the plan's last precision but FP32, usually INT8.
    """
    rows = []
    reference = files.onnx.get(Precision.FP32)
    lowered = [file for precision, file in files.onnx.items() if precision is not Precision.FP32]
    if plan.is_trained and lowered:
        candidate = lowered[-1]
        if plan.evidence.attribution:
            options = AttributeOptions(candidate=candidate, data=plan.data, force=force, **_images(plan))
            rows.append(_stage("attribute", lambda: attribute(options, progress), lambda found: found.sentence))
        if plan.evidence.divergence and reference is not None:
            layers = DivergeOptions(
                reference=reference, candidate=candidate, data=plan.data, split=plan.validate.split, force=force
            )
            rows.append(_stage("diverge", lambda: diverge(layers, progress), _fault_in_words))
    if plan.evidence.targets:
        rows += _estimates(plan, force)
    return rows


def _images(plan: DeployPlan) -> dict[str, Any]:
    return {"split": plan.validate.split, "num_images": plan.validate.num_images}


def _stage(name: str, run: Callable[[], Any], note: Callable[[Any], str]) -> StageRow:
    begun = time.perf_counter()
    found = run()
    return StageRow(
        stage=name,
        file=Path(found.file),
        state="up to date" if found.skipped else "done",
        seconds=time.perf_counter() - begun,
        note=note(found),
    )


def _fault_in_words(found: Any) -> str:
    return f"first layer at fault: {found.first}" if found.first else "no layer is at fault"


def _estimates(plan: DeployPlan, force: bool) -> list[StageRow]:
    """The network itself with its layers, and the depths beside it without."""
    name = plan.spec().name
    wanted = [(plan.out / f"{name}.estimate.json", (name,), True)]
    if plan.bench.depths:
        beside = tuple(net_of_depth(depth).name for depth in plan.bench.depths)
        wanted.append((plan.out / "depths" / "estimate.json", beside, False))
    rows = []
    for out, nets, layers in wanted:
        begun = time.perf_counter()
        options = EstimateOptions(
            nets=nets,
            targets=plan.evidence.targets,
            precisions=plan.precisions,
            batches=plan.bench.batches,
            layers=layers,
        )
        known = not force and is_up_to_date(out, **estimate_record(options))
        if not known:
            write_estimate(estimate(options), out, options)
        state = "up to date" if known else "done"
        note = f"roofline on {', '.join(plan.evidence.targets)}"
        rows.append(StageRow(stage="estimate", file=out, state=state, seconds=time.perf_counter() - begun, note=note))
    return rows
