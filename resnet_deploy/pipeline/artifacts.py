"""From a network to all its files: checkpoint, ONNX and engine in every precision asked for."""

from __future__ import annotations

__all__ = ["NetFiles", "StageRow", "make_files"]

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import is_up_to_date
from resnet_deploy.core.errors import EngineBuildError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import NetSpec
from resnet_deploy.pipeline.plan import LATENCY_CALIBRATION, BuildPlan, CalibrationPlan

_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRow:
    """What became of one stage.

    Attributes:
        state: "done", "up to date" or "not run"; `note` says why not.
        seconds: Of this call, 0 where it was not run.
    """

    stage: str
    file: Path
    state: str = "done"
    seconds: float = 0.0
    note: str = ""


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
    checkpoint = checkpoint or _untrained_checkpoint(spec, folder, progress)
    maker = _Maker(checkpoint, folder, force, progress)
    wanted = tuple(dict.fromkeys(precisions))
    fp32 = maker.export(Precision.FP32)
    onnx = {Precision.FP32: fp32}
    for precision in wanted:
        if precision in (Precision.INT8, Precision.FP8):
            onnx[precision] = maker.quantize(fp32, precision, calibration, num_threads)
        elif precision is not Precision.FP32:
            onnx[precision] = maker.export(precision)
    onnx = {precision: onnx[precision] for precision in wanted}
    engines, products = maker.build(onnx, build or BuildPlan())
    return NetFiles(
        checkpoint=checkpoint,
        onnx=onnx,
        engines=engines,
        products=products,
        stages=tuple(maker.stages),
    )


class _Maker:
    """Calls the stages for one network and keeps a row of each."""

    def __init__(self, checkpoint: Path, folder: Path, force: bool, progress: Progress) -> None:
        self.checkpoint, self.folder = checkpoint, folder
        self.force, self.progress = force, progress
        self.stem = checkpoint.name.removesuffix(".safetensors")
        self.stages: list[StageRow] = []

    def export(self, precision: Precision) -> Path:
        from resnet_deploy.export.onnx_export import ExportOptions, export_onnx

        options = ExportOptions(
            checkpoint=self.checkpoint,
            precision=precision,
            out=self.folder / f"{self.stem}.{precision}.onnx",
            force=self.force,
        )
        return self._timed("export", lambda: export_onnx(options, self.progress)).file

    def quantize(self, fp32: Path, precision: Precision, plan: CalibrationPlan, num_threads: int) -> Path:
        from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
        from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
        from resnet_deploy.quant.refine import RefineOptions

        options = CalibrateOptions(
            onnx=fp32,
            data=plan.data,
            split=plan.split,
            num_images=plan.num_images,
            method=plan.method,
            num_threads=num_threads,
            force=self.force,
        )
        table = self._timed("calibrate", lambda: calibrate(options, self.progress)).file
        of_int8 = {}
        if precision is Precision.INT8:
            of_int8["unsigned_relu"] = plan.unsigned_relu
            if plan.refinements:
                of_int8["refine"] = RefineOptions(refinements=plan.refinements, data=plan.data, split=plan.split)
        chosen = QuantizeOptions(onnx=fp32, table=table, precision=precision, force=self.force, **of_int8)
        return self._timed("quantize", lambda: quantize_onnx(chosen, self.progress)).file

    def build(self, onnx: dict[Precision, Path], plan: BuildPlan) -> tuple[dict[Precision, Path], dict[Precision, str]]:
        from resnet_deploy.engine.build import BatchProfile, BuildOptions, build_engine

        engines, products = {}, {}
        least, best, most = plan.batch_profile
        for precision, file in onnx.items():
            options = BuildOptions(
                onnx=file,
                product=plan.product,
                targets=plan.targets,
                batch=BatchProfile(min=least, opt=best, max=most),
                force=self.force,
            )
            try:
                built = self._timed("build", lambda options=options: build_engine(options, self.progress))
            except (EngineBuildError, MissingDependencyError) as error:
                self.progress.log(f"{file}: no engine: {error.message}")
                row = StageRow(stage="build", file=options.file, state="not run", note=error.message)
                self.stages.append(row)
                continue
            engines[precision], products[precision] = built.file, built.product
        return engines, products

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        state = "up to date" if result.skipped else "done"
        seconds = time.perf_counter() - begun
        self.stages.append(StageRow(stage=stage, file=result.file, state=state, seconds=seconds))
        return result


def _untrained_checkpoint(spec: NetSpec, folder: Path, progress: Progress) -> Path:
    """The untrained weights as a file, so that torch runs the very network that was exported."""
    from resnet_deploy.nets.checkpoint import fresh_net, save_checkpoint

    file = folder / f"{spec.name}.safetensors"
    text = f"{spec.name}, random, seed {_SEED}"
    record = {"inputs": {"net": (text, sha256_of_bytes(text.encode()))}, "options": {"seed": _SEED}}
    if not is_up_to_date(file, stage="bench", **record):
        progress.start(f"untrained weights of {spec.name}", None)
        save_checkpoint(
            file,
            fresh_net(spec, seed=_SEED),
            spec=spec,
            preprocess=spec.preprocess,
            labels=tuple(str(i) for i in range(spec.num_classes)),
            stage="bench",
            details={"weights": f"random, seed {_SEED}"},
            **record,
        )
    return file
