"""From a plan to a report: every stage in order, each skipped where it is up to date."""

from __future__ import annotations

__all__ = ["Deployment", "deploy"]

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.bench.run import Benchmark, BenchOptions, bench
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.availability import available_backends
from resnet_deploy.nets.catalogue import net_of_depth
from resnet_deploy.pipeline.artifacts import NetFiles, make_files
from resnet_deploy.pipeline.bundle.stage import bundle_stage
from resnet_deploy.pipeline.evidence import gather_evidence
from resnet_deploy.pipeline.many import make_untrained
from resnet_deploy.pipeline.onnx_files import StageRow
from resnet_deploy.pipeline.plan import LATENCY_CALIBRATION, CalibrationPlan, DeployPlan
from resnet_deploy.pipeline.targets import bench_targets
from resnet_deploy.report.report import ReportOptions, write_report
from resnet_deploy.verify.thresholds import Thresholds
from resnet_deploy.verify.validate import ValidateOptions, validate
from resnet_deploy.verify.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What a plan came to.

    Attributes:
        stages: Every stage in order: done, up to date, or not run and why.
        verdicts: One for each precision after FP32 and for each engine that can run here.
        passed: Whether every verdict passed; true where none was asked for.
    """

    net: str
    stages: tuple[StageRow, ...]
    verdicts: tuple[Verdict, ...]
    benchmark: Benchmark | None
    report: Path | None
    passed: bool
    seconds: float


def deploy(
    plan: DeployPlan, progress: Progress = NO_PROGRESS, *, force: bool = False, num_processes: int = 1
) -> Deployment:
    """Run a plan. A failed verdict stops nothing: all files and numbers are there to find out why.

    Args:
        force: Do all work again, whatever is up to date.
        num_processes: See `pipeline.many.make_untrained`.

    Raises:
        ResnetDeployError: As the stages do; what is finished is kept and skipped the next time.
    """
    started = time.perf_counter()
    stages: list[StageRow] = []
    checkpoint = _weights(plan, stages, progress, force)
    files = make_files(
        plan.spec(),
        folder=plan.out,
        checkpoint=checkpoint,
        precisions=plan.precisions,
        calibration=_calibration(plan),
        build=plan.build,
        force=force,
        progress=progress,
    )
    stages += files.stages
    verdicts = _verdicts(plan, files, stages, progress, force) if plan.is_trained else ()
    benchmark = _bench(plan, files, stages, progress, num_processes) if plan.bench.enabled else None
    stages += gather_evidence(plan, files, force=force, progress=progress)
    if plan.bundle.enabled:
        stages.append(bundle_stage(plan, files, verdicts, force=force, progress=progress))
    report = None
    if plan.report:
        begun = time.perf_counter()
        options = ReportOptions(folder=plan.out, title=f"{plan.spec().name} on {plan.data or 'no data'}")
        report = write_report(options, progress).file
        stages.append(StageRow(stage="report", file=report, seconds=time.perf_counter() - begun))
    return Deployment(
        net=plan.spec().name,
        stages=tuple(stages),
        verdicts=tuple(verdicts),
        benchmark=benchmark,
        report=report,
        passed=all(verdict.passed for verdict in verdicts),
        seconds=time.perf_counter() - started,
    )


def _weights(plan: DeployPlan, stages: list[StageRow], progress: Progress, force: bool) -> Path | None:
    """The checkpoint the plan starts from; None for untrained weights."""
    if plan.checkpoint is not None:
        return plan.checkpoint
    out = plan.out / f"{plan.spec().name}.safetensors"
    begun = time.perf_counter()
    if plan.weights is not None:
        from resnet_deploy.export.foreign import ImportOptions, import_weights

        options = ImportOptions(file=plan.weights, out=out, net=plan.spec().name, force=force)
        imported = import_weights(options, progress=progress)
        stages.append(_row("import", imported, begun, note=f"from {plan.weights.name}"))
        return out
    if plan.train is None:
        return None
    from resnet_deploy.train.loop import train
    from resnet_deploy.train.options import TrainOptions
    from resnet_deploy.train.recipe_book import load_recipe, override_recipe, usual_recipe

    recipe = load_recipe(plan.train.recipe or usual_recipe(plan.data, plan.spec().family))
    if plan.train.epochs is not None:
        recipe = override_recipe(recipe, {"epochs": plan.train.epochs})
    options = TrainOptions(
        out=out,
        recipe=recipe,
        net=plan.spec().name,
        data=plan.data,
        split=plan.train.split,
        val_split=plan.train.val_split,
        seed=plan.train.seed,
        force=force,
    )
    trained = train(options, progress=progress)
    note = f"{trained.top1_percent:.2f} % top-1 on {trained.num_val_images} held-out images"
    stages.append(_row("train", trained, begun, note=note))
    return out


def _row(stage: str, result: Any, begun: float, *, note: str) -> StageRow:
    state = "up to date" if result.skipped else "done"
    return StageRow(stage=stage, file=result.file, state=state, seconds=time.perf_counter() - begun, note=note)


def _calibration(plan: DeployPlan) -> CalibrationPlan:
    data = plan.calibrate.data or plan.data
    if data is None or not plan.is_trained:
        return LATENCY_CALIBRATION
    return replace(plan.calibrate, data=data)


def _verdicts(
    plan: DeployPlan, files: NetFiles, stages: list[StageRow], progress: Progress, force: bool
) -> Sequence[Verdict]:
    """FP32 ONNX against torch; every other ONNX file, and every engine that can run here, against FP32 ONNX."""
    reference = files.onnx.get(Precision.FP32, files.checkpoint)
    pairs = [(files.checkpoint if file == reference else reference, file) for file in files.onnx.values()]
    runnable = {status.name for status in available_backends() if status.available}
    pairs += [(reference, file) for precision, file in files.engines.items() if files.products[precision] in runnable]
    verdicts = []
    for reference, candidate in pairs:
        begun = time.perf_counter()
        options = ValidateOptions(
            reference=reference,
            candidate=candidate,
            data=plan.data,
            split=plan.validate.split,
            thresholds=_thresholds(plan),
            num_images=plan.validate.num_images,
            prove=plan.validate.prove,
            level=plan.validate.level,
            force=force,
        )
        verdict = validate(options, progress)
        verdicts.append(verdict)
        stages.append(
            StageRow(
                stage="validate",
                file=Path(verdict.file),
                seconds=time.perf_counter() - begun,
                state="up to date" if verdict.skipped else "done",
                note="passed" if verdict.passed else "FAILED",
            )
        )
    for precision, engine in files.engines.items():
        if files.products[precision] not in runnable:
            note = f"{files.products[precision]} can not run here; the ONNX file it was built from was validated"
            stages.append(StageRow(stage="validate", file=engine, state="not run", note=note))
    return verdicts


def _thresholds(plan: DeployPlan) -> Thresholds:
    given = {
        name: value
        for name in ("max_top1_drop", "min_agreement")
        if (value := getattr(plan.validate, name)) is not None
    }
    return Thresholds(**given)


def _bench(
    plan: DeployPlan, files: NetFiles, stages: list[StageRow], progress: Progress, num_processes: int
) -> Benchmark:
    statuses = available_backends()
    targets = bench_targets(files, statuses)
    beside = make_untrained(
        [net_of_depth(depth) for depth in plan.bench.depths],
        folder=plan.out / "depths",
        build=plan.build,
        num_processes=num_processes,
        progress=progress,
    )
    for extra in beside:
        stages += extra.stages
        targets += bench_targets(extra, statuses)
    begun = time.perf_counter()
    sampling = Sampling(min_seconds=plan.bench.seconds, max_seconds=4 * plan.bench.seconds)
    options = BenchOptions(
        targets=tuple(targets), out=plan.out / "bench.json", batches=plan.bench.batches, sampling=sampling
    )
    result = bench(options, progress)
    num_timed = sum(row.timing is not None for row in result.rows)
    note = f"{num_timed} rows timed, {len(result.rows) - num_timed} not run here"
    stages.append(StageRow(stage="bench", file=options.out, seconds=time.perf_counter() - begun, note=note))
    return result
