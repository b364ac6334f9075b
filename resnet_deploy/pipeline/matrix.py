"""Many engines at once: files or whole networks, in every precision, for every GPU; what is up to date is kept."""

from __future__ import annotations

__all__ = ["EngineCell", "NetworkMatrix", "build_all", "build_matrix", "cell_of", "jobs_for"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from resnet_deploy.bench.run import weights_of
from resnet_deploy.core.artifacts import find_manifest
from resnet_deploy.core.errors import ConfigError, EngineBuildError, ExitCode, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.engine.building.build import BuildResult
from resnet_deploy.engine.building.options import BuildOptions
from resnet_deploy.nets.catalogue import NetSpec
from resnet_deploy.pipeline.build import Delivered, build_and_ask
from resnet_deploy.pipeline.many import for_each_network
from resnet_deploy.pipeline.onnx_files import make_onnx_files

_UNTRAINED = "untrained"  # folder of networks that have no weights in the folder that was named


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineCell:
    """One engine that was asked for.

    Attributes:
        onnx: What it is built from.
        targets: As asked for; empty for the product's own choice.
        state: "built", "up to date" or "refused".
        reason: Why it was refused; empty where it was not.
        exit_code: What a program ends with for this engine alone.
        result, delivered: None where it was refused.
    """

    onnx: Path
    file: Path
    precision: Precision | None
    targets: tuple[str, ...]
    state: str
    reason: str
    exit_code: int
    result: BuildResult | None
    delivered: Delivered | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkMatrix:
    """Networks x precisions x GPUs.

    A network's files are looked for in `folder` (`<net>.<precision>.onnx`; FP32, FP16 and BF16 are exported from
    `<net>.safetensors` where they are missing). One that has none there is made without training, in
    `folder/untrained`: its engines are good for sizes, build times and latency.

    Attributes:
        target_groups: GPUs of each engine; () is the product's own choice.
        template: Options of every engine; its `onnx`, `out` and `targets` are replaced.
        num_processes: Networks at a time.
    """

    nets: tuple[NetSpec, ...]
    template: BuildOptions
    precisions: tuple[Precision, ...] = MAIN_PRECISIONS
    target_groups: tuple[tuple[str, ...], ...] = ((),)
    folder: Path = Path("out")
    num_processes: int = 1


def jobs_for(onnx: Path, template: BuildOptions, target_groups: Sequence[tuple[str, ...]]) -> list[BuildOptions]:
    """The engines of one ONNX file: `net.engine`, or `net.sm89.engine` and so on where there are several groups."""
    if len(target_groups) == 1:
        return [replace(template, onnx=onnx, targets=target_groups[0])]
    stem = Path(onnx).with_suffix("")
    return [
        replace(template, onnx=onnx, targets=group, out=stem.with_name(f"{stem.name}.{'-'.join(group)}.engine"))
        for group in target_groups
    ]


def build_all(jobs: Iterable[BuildOptions], progress: Progress = NO_PROGRESS) -> list[EngineCell]:
    """Build one after another; an engine that can not be built does not hinder the others.

    Raises:
        ConfigError, ArtifactError, GraphError: A wrong option or file; what is finished is kept.
    """
    return [_cell(job, progress) for job in jobs]


def build_matrix(matrix: NetworkMatrix, progress: Progress = NO_PROGRESS) -> list[EngineCell]:
    """Make the ONNX files that are missing, then every engine; network by network, precision by precision.

    Raises:
        ConfigError: INT8 or FP8 is asked of trained weights that were not calibrated.
        ResnetDeployError: As the stages do; what is finished is kept and skipped the next time.
    """
    rows = for_each_network(
        partial(_engines_of, matrix=matrix),
        matrix.nets,
        title="engines",
        num_processes=matrix.num_processes,
        progress=progress,
    )
    return [cell for row in rows for cell in row]


def _engines_of(spec: NetSpec, *, matrix: NetworkMatrix, progress: Progress = NO_PROGRESS) -> list[EngineCell]:
    files = _onnx_files(spec, matrix, progress)
    jobs = [job for file in files for job in jobs_for(file, matrix.template, matrix.target_groups)]
    return build_all(jobs, progress)


def _onnx_files(spec: NetSpec, matrix: NetworkMatrix, progress: Progress) -> list[Path]:
    checkpoint = matrix.folder / f"{spec.name}.safetensors"
    files = {precision: matrix.folder / f"{spec.name}.{precision}.onnx" for precision in matrix.precisions}
    there = [file for file in (checkpoint, *files.values()) if file.is_file()]
    if not any(_may_be_trained(file) for file in there):
        folder = matrix.folder / _UNTRAINED
        made = make_onnx_files(spec, folder=folder, precisions=matrix.precisions, progress=progress)
        return list(made.onnx.values())
    missing = [precision for precision, file in files.items() if not file.is_file()]
    for precision in missing:
        if precision in (Precision.INT8, Precision.FP8):
            raise ConfigError(
                f"{files[precision]} is not there, and scales for the weights in {matrix.folder} can not be guessed",
                remedy=f"`resnet-deploy calibrate`, then `resnet-deploy quantize` "
                f"{matrix.folder / f'{spec.name}.fp32.onnx'}; or leave {precision} away",
            )
        if not checkpoint.is_file():
            raise ConfigError(
                f"neither {files[precision]} nor {checkpoint} is there, from which it is exported",
                remedy=f"leave {precision} away, or name another --folder",
            )
    if missing:
        make_onnx_files(spec, folder=matrix.folder, checkpoint=checkpoint, precisions=missing, progress=progress)
    return list(files.values())


def _may_be_trained(file: Path) -> bool:
    return not weights_of(file, find_manifest(file)).startswith("random")


def _cell(job: BuildOptions, progress: Progress) -> EngineCell:
    try:
        built = build_and_ask(job, progress)
    except (EngineBuildError, MissingDependencyError) as error:
        remedy = f" ({error.remedy})" if error.remedy else ""
        return EngineCell(
            onnx=job.onnx,
            file=job.file,
            precision=None,
            targets=job.targets,
            state="refused",
            reason=f"{error.message}{remedy}",
            exit_code=error.exit_code,
            result=None,
            delivered=None,
        )
    return cell_of(job, *built)


def cell_of(job: BuildOptions, result: BuildResult, delivered: Delivered) -> EngineCell:
    """The cell of a finished engine."""
    return EngineCell(
        onnx=job.onnx,
        file=result.file,
        precision=result.precision,
        targets=job.targets,
        state="up to date" if result.skipped else "built",
        reason="",
        exit_code=ExitCode.DONE if result.passed else ExitCode.CHECK_FAILED,
        result=result,
        delivered=delivered,
    )
