"""From a network to its ONNX files: exported, calibrated and quantised in every precision asked for."""

from __future__ import annotations

__all__ = ["OnnxFiles", "StageRow", "make_onnx_files", "timed_stage"]

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import is_up_to_date
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import NetSpec
from resnet_deploy.pipeline.plan import LATENCY_CALIBRATION, CalibrationPlan

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
class OnnxFiles:
    """The ONNX files of one network.

    Attributes:
        onnx: By precision, in the order asked for.
        stages: How each file came to be.
    """

    checkpoint: Path
    onnx: dict[Precision, Path]
    stages: tuple[StageRow, ...]


def make_onnx_files(
    spec: NetSpec,
    *,
    folder: Path,
    checkpoint: Path | None = None,
    precisions: Iterable[Precision] = MAIN_PRECISIONS,
    calibration: CalibrationPlan = LATENCY_CALIBRATION,
    num_threads: int = 0,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> OnnxFiles:
    """Export, calibrate and quantise; what is up to date is kept.

    Args:
        checkpoint: Trained weights; None takes an untrained network, good for latency only.
        calibration: Where INT8 scales come from; the default is noise, for latency only.
    Raises:
        ResnetDeployError: As each stage does.
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
    return OnnxFiles(
        checkpoint=checkpoint,
        onnx={precision: onnx[precision] for precision in wanted},
        stages=tuple(maker.stages),
    )


def timed_stage(stages: list[StageRow], stage: str, work: Callable[[], Any]) -> Any:
    """Do `work`, add its row to `stages`, hand on its result (with `file` and `skipped`)."""
    begun = time.perf_counter()
    result = work()
    state = "up to date" if result.skipped else "done"
    stages.append(StageRow(stage=stage, file=result.file, state=state, seconds=time.perf_counter() - begun))
    return result


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
        return timed_stage(self.stages, "export", lambda: export_onnx(options, self.progress)).file

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
        table = timed_stage(self.stages, "calibrate", lambda: calibrate(options, self.progress)).file
        of_int8 = {}
        if precision is Precision.INT8:
            of_int8["unsigned_relu"] = plan.unsigned_relu
            if plan.refinements:
                of_int8["refine"] = RefineOptions(refinements=plan.refinements, data=plan.data, split=plan.split)
        chosen = QuantizeOptions(onnx=fp32, table=table, precision=precision, force=self.force, **of_int8)
        return timed_stage(self.stages, "quantize", lambda: quantize_onnx(chosen, self.progress)).file


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
