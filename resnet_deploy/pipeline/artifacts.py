"""From a network to all its files: checkpoint, ONNX and engine in every precision asked for."""

from __future__ import annotations

__all__ = ["NetFiles", "make_files"]

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.errors import EngineBuildError, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import NetSpec
from resnet_deploy.pipeline.build import build_and_ask
from resnet_deploy.pipeline.onnx_files import StageRow, make_onnx_files, timed_stage
from resnet_deploy.pipeline.plan import LATENCY_CALIBRATION, BuildPlan, CalibrationPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class NetFiles:
    """The files of one network.

    Attributes:
        onnx, engines: By precision; an engine that could not be built is absent.
        products: Which product each engine is of.
        stages: How each file came to be, engines that could not be built included.
    """

    checkpoint: Path
    onnx: dict[Precision, Path]
    engines: dict[Precision, Path]
    products: dict[Precision, str]
    stages: tuple[StageRow, ...]


def make_files(
    spec: NetSpec,
    *,
    folder: Path,
    checkpoint: Path | None = None,
    precisions: Iterable[Precision] = MAIN_PRECISIONS,
    calibration: CalibrationPlan = LATENCY_CALIBRATION,
    build: BuildPlan | None = None,
    num_threads: int = 0,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> NetFiles:
    """Export, calibrate, quantise and build; what is up to date is kept.

    Args:
        checkpoint: Trained weights; None takes an untrained network, good for latency only.
        calibration: Where INT8 scales come from; the default is noise, for latency only.
    Raises:
        ResnetDeployError: As each stage does. An engine that the product refuses or that needs a package or
            GPU that is not here is no error: its stage says why.
    """
    made = make_onnx_files(
        spec,
        folder=folder,
        checkpoint=checkpoint,
        precisions=precisions,
        calibration=calibration,
        num_threads=num_threads,
        force=force,
        progress=progress,
    )
    stages = list(made.stages)
    engines, products = _build(made.onnx, build or BuildPlan(), stages, force, progress)
    return NetFiles(
        checkpoint=made.checkpoint, onnx=made.onnx, engines=engines, products=products, stages=tuple(stages)
    )


def _build(
    onnx: dict[Precision, Path], plan: BuildPlan, stages: list[StageRow], force: bool, progress: Progress
) -> tuple[dict[Precision, Path], dict[Precision, str]]:
    engines, products = {}, {}
    for precision, file in onnx.items():
        options = plan.options(file, force=force)
        try:
            built = timed_stage(stages, "build", lambda options=options: build_and_ask(options, progress)[0])
        except (EngineBuildError, MissingDependencyError) as error:
            progress.log(f"{file}: no engine: {error.message}")
            stages.append(StageRow(stage="build", file=options.file, state="not run", note=error.message))
            continue
        engines[precision], products[precision] = built.file, built.product
    return engines, products
