"""The sanity gate: what any correct network does, checked without a reference and without labels.

A runner that mixes up the rows of a batch, is wrong at one batch size only, keeps old rows, drifts, or answers NaN to
a white image fails here, whatever it was trained for. That it classifies well is for `verify` to say.
Source: NVIDIA/TensorRT issues 4796, 4813 and 4853, engines that were silently wrong for batches.
"""

from __future__ import annotations

__all__ = ["SanityCheck", "SanityReport", "check_sanity", "sanity_of_file", "sanity_record"]

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_deploy.core.artifacts import Manifest, find_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError, EngineRunError, GraphError, MissingDependencyError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.sanity.checks import CHECKS
from resnet_deploy.engine.sanity.images import legal_images
from resnet_deploy.engine.sanity.limits import rounding_limit
from resnet_deploy.engine.sanity.session import SanitySession, SanityStop, WrongShape
from resnet_deploy.engine.sanity.shapes import SanityShapes, shapes_to_run

_BUDGET_S = 60.0
_RUNS = "runs"
_IMAGE_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, kw_only=True, slots=True)
class SanityCheck:
    """One property of a correct network, at one image size.

    Attributes:
        name: "runs", or as in `engine.sanity.checks.CHECKS`.
        size: Height x width of the images in pixels.
        passed: None where it was skipped; `reason` then says why.
        measured, limit: As shares of the output's largest value, for "finite" a number of images; None where it ended
            without a measurement.
        relation: What `measured` has to be, of `limit`: "<=" or ">".
        where: The place of a failure: image, batch size, row, output.
        reason: Why it was skipped, or a remark on a check that passed.
    """

    name: str
    size: str
    passed: bool | None
    measured: float | None = None
    limit: float | None = None
    relation: str = "<="
    where: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SanityReport:
    """What the gate found.

    Attributes:
        batches: Batch sizes that were planned, by image size.
        images: Names of the legal images.
        num_images: Images that went through the network, repeats included.
        notes: What was assumed.
    """

    file: str
    backend: str
    version: str
    device: str
    precision: Precision
    seed: int
    checks: tuple[SanityCheck, ...]
    batches: dict[str, tuple[int, ...]]
    images: tuple[str, ...]
    num_images: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """No check failed, and not all were skipped."""
        states = [check.passed for check in self.checks]
        return False not in states and True in states


def check_sanity(
    runner: Runner,
    *,
    preprocess: Preprocess | None,
    precision: Precision,
    tf32: bool = False,
    seed: int = 0,
    budget_s: float = _BUDGET_S,
    progress: Progress = NO_PROGRESS,
) -> SanityReport:
    """Run every check on a runner, at every batch and image size its profiles allow.

    Args:
        preprocess: What pixels the network wants; None takes (pixel / 255 - 0.5) / 0.25.
        precision, tf32: They set how far two kernels may be apart; see `engine.sanity.limits.rounding_limit`.
        seed: Of the random images.
        budget_s: Seconds after which what is left is skipped; at least the images alone are run.
    Raises:
        GraphError: The network does not take one batch of images.
    """
    started = time.perf_counter()
    spec = runner.info.inputs[0] if len(runner.info.inputs) == 1 else None
    if spec is None or len(spec.shape) != 4 or spec.dtype not in _IMAGE_DTYPES:
        got = ", ".join(f"{s.name} {s.dtype} {list(s.shape)}" for s in runner.info.inputs)
        raise GraphError(
            f"{runner.info.file} takes {got or 'nothing'}, the sanity gate needs one batch of images "
            f"({', '.join(_IMAGE_DTYPES)}, four axes)",
            remedy="check networks with one image input",
        )
    shapes = shapes_to_run(runner.info, preprocess)
    limit = rounding_limit(precision, tf32=tf32)
    progress.start(f"sanity of {Path(runner.info.file).name}", (len(CHECKS) + 1) * len(shapes))
    checks: list[SanityCheck] = []
    names, num_images = (), 0
    for shape in shapes:
        images = legal_images(
            spec, height_px=shape.height_px, width_px=shape.width_px, preprocess=preprocess, seed=seed
        )
        names = images.names
        try:
            session = SanitySession(runner, images, smallest=shape.smallest, limit=limit, deadline=started + budget_s)
        except (EngineRunError, SanityStop) as error:
            checks.append(_stopped(_RUNS, shape, error))
            progress.advance(len(CHECKS) + 1, note=f"{_RUNS}: no")
            continue
        checks.append(SanityCheck(name=_RUNS, size=_size(shape), passed=True))
        progress.advance(note=_RUNS)
        for check in _run_checks(session, shape):
            checks.append(check)
            progress.advance(note=f"{check.name}{'' if check.passed is not False else ' FAILED'}")
        num_images += session.num_images
    return SanityReport(
        file=runner.info.file,
        backend=runner.info.backend,
        version=runner.info.version,
        device=runner.info.device,
        precision=precision,
        seed=seed,
        checks=tuple(checks),
        batches={_size(shape): shape.batches for shape in shapes},
        images=names,
        num_images=num_images,
        seconds=time.perf_counter() - started,
        notes=_assumptions(spec.dtype, preprocess),
    )


def sanity_of_file(
    file: Path,
    *,
    backend: str | None = None,
    preprocess: Preprocess | None = None,
    num_threads: int = 0,
    seed: int = 0,
    budget_s: float = _BUDGET_S,
    progress: Progress = NO_PROGRESS,
) -> SanityReport:
    """Open a checkpoint, an ONNX file or an engine, and check it; see `check_sanity`.

    Args:
        backend: As for `engine.open.open_runner`.
        preprocess: For a file whose manifest does not say it, or that has none.
    Raises:
        ArtifactError, ConfigError, GraphError, MissingDependencyError: As `engine.open.open_runner`.
    """
    from resnet_deploy.engine.open import open_runner

    file = Path(file)
    with open_runner(file, backend=backend, num_threads=num_threads) as runner:
        manifest = find_manifest(file)
        return check_sanity(
            runner,
            preprocess=preprocess or (manifest.preprocess if manifest else None),
            precision=_precision(file, runner.info.backend, manifest),
            tf32=bool(manifest and manifest.options.get("tf32")),
            seed=seed,
            budget_s=budget_s,
            progress=progress,
        )


def sanity_record(file: Path, *, budget_s: float = _BUDGET_S, progress: Progress = NO_PROGRESS) -> dict[str, Any]:
    """What `build` writes into an engine's manifest; never raises for want of hardware.

    Returns:
        {"state": "passed" or "failed", "checks": [...], "seconds": ...}; {"state": "failed", "reason": ...} for an engine
        of the GPU here that does not run on it; {"state": "not run", "reason": ...} where no GPU is here or the engine
        is for another one.
    """
    driver = query_cuda_driver()
    if Path(file).suffix == ".engine" and not driver.gpus:
        return {"state": "not run", "reason": driver.reason}
    try:
        report = sanity_of_file(file, budget_s=budget_s, progress=progress)
    except (MissingDependencyError, ConfigError, GraphError) as error:
        return {"state": "not run", "reason": error.message}
    except EngineRunError as error:
        # an engine that was built for the GPU here must run on it; one for another GPU is not the one to ask
        state = "failed" if _is_for_gpu_here(file) else "not run"
        return {"state": state, "reason": f"it could not be run here: {error.message}"}
    return {
        "state": "passed" if report.passed else "failed",
        "checks": to_plain(report.checks),
        "device": report.device,
        "seed": report.seed,
        "seconds": round(report.seconds, 3),
    }


def _is_for_gpu_here(file: Path) -> bool:
    manifest = find_manifest(file)
    targets = manifest.details.get("targets", ()) if manifest else ()
    return any(f"sm{gpu.compute_capability.replace('.', '')}" in targets for gpu in query_cuda_driver().gpus[:1])


def _run_checks(session: SanitySession, shape: SanityShapes) -> Iterator[SanityCheck]:
    for name, check in CHECKS.items():
        try:
            found = check(session, shape.batches)
        except (EngineRunError, SanityStop) as error:
            yield _stopped(name, shape, error)
        else:
            yield SanityCheck(
                name=name,
                size=_size(shape),
                passed=found.passed,
                measured=found.value,
                limit=found.limit,
                relation=found.relation,
                where=found.where,
                reason=found.note,
            )


def _stopped(name: str, shape: SanityShapes, error: EngineRunError | SanityStop) -> SanityCheck:
    """A check that an exception ended: failed, unless it only could not be done."""
    if isinstance(error, SanityStop) and not isinstance(error, WrongShape):
        return SanityCheck(name=name, size=_size(shape), passed=None, reason=str(error))
    return SanityCheck(name=name, size=_size(shape), passed=False, where=str(error).splitlines()[0])


def _precision(file: Path, backend: str, manifest: Manifest | None) -> Precision:
    """What the network computes in: a checkpoint says nothing, its backend does."""
    if manifest is not None and manifest.precision is not None:
        return manifest.precision
    if file.suffix != ".onnx":
        return Precision.FP16 if backend.endswith("-fp16") else Precision.FP32
    from resnet_deploy.engine.onnx_file import onnx_precision
    from resnet_deploy.graph.external_data import read_onnx_with_data

    return onnx_precision(read_onnx_with_data(file)[0])


def _assumptions(dtype: str, preprocess: Preprocess | None) -> tuple[str, ...]:
    if preprocess is not None or np.dtype(dtype).kind != "f":
        return ()
    return ("the preprocessing is not known: images are (pixel / 255 - 0.5) / 0.25",)


def _size(shape: SanityShapes) -> str:
    return f"{shape.height_px}x{shape.width_px}"
