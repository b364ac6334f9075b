"""One row of a benchmark: a runner that is open, in one case, measured and judged."""

from __future__ import annotations

__all__ = ["Setup", "judged_row", "measure_case", "missing_row"]

from dataclasses import dataclass

from resnet_deploy.bench.machine.conditions import Conditions
from resnet_deploy.bench.machine.energy import energy_of
from resnet_deploy.bench.machine.nvml import Nvml
from resnet_deploy.bench.machine.validity import VALID, judge_row
from resnet_deploy.bench.machine.watch import Watch
from resnet_deploy.bench.measure.application import (
    Application,
    Photos,
    measure_application,
    synthetic_photos,
    why_no_requests,
)
from resnet_deploy.bench.measure.inputs import input_of
from resnet_deploy.bench.measure.timing import Timing, measure
from resnet_deploy.bench.measure.workers import measure_workers
from resnet_deploy.bench.options import BenchOptions, Case
from resnet_deploy.bench.rows import BenchRow, Described
from resnet_deploy.core.errors import MissingDependencyError
from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.runners.passes import why_not_one_pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all rows share. `photos`: None makes JPEG files in memory; `nvml`: None where there is none."""

    options: BenchOptions
    nvml: Nvml | None
    photos: Photos | None = None


def measure_case(
    runner: Runner,
    item: Described,
    case: Case,
    setup: Setup,
    *,
    threads: int,
    repeat: int,
) -> BenchRow:
    """Time one case; a case that can not be run is a row with its reason.

    Raises:
        EngineRunError: The network failed while it ran.
        DataError: An image of application mode can not be used.
    """
    spec = item.manifest.preprocess if item.manifest else None
    reason = why_not_one_pass(runner.info, case.batch) if case.mode == "kernel" else why_no_requests(runner, spec)
    timing, application = None, None
    watch = Watch(nvml=setup.nvml, device=runner.info.device)
    if not reason:
        timing, application = _timed(runner, item, case, setup, watch)
    return judged_row(
        runner,
        item,
        case,
        timing=timing,
        application=application,
        conditions=watch.conditions,
        reason=f"not run: {reason}" if reason else "",
        threads=threads,
        repeat=repeat,
    )


def judged_row(
    runner: Runner,
    item: Described,
    case: Case,
    *,
    timing: Timing | None,
    conditions: Conditions | None,
    threads: int,
    reason: str = "",
    repeat: int = 0,
    application: Application | None = None,
) -> BenchRow:
    """The row of a case with its energy and its verdict."""
    info = runner.info  # that a graph could not be captured is known only after the passes
    energy = None
    if timing is not None and conditions is not None:
        images = round(timing.images_per_second * conditions.processors.seconds)
        energy = energy_of(conditions, images=max(images, 1))
    return item.row(
        batch=case.batch,
        backend=info.backend,
        version=info.version,
        device=info.device,
        timing=timing,
        reason=reason,
        cuda_graphs=info.cuda_graphs and timing is not None,
        note=info.note,
        mode=case.mode,
        threads=threads,
        workers=case.workers,
        repeat=repeat,
        application=application,
        conditions=conditions,
        energy=energy,
        validity=VALID if timing is None else judge_row(timing, conditions),
    )


def missing_row(
    item: Described, case: Case, error: MissingDependencyError, *, threads: int, repeat: int = 0
) -> BenchRow:
    """The row of a file whose backend is not here."""
    backend = item.target.backend or item.product
    return item.row(
        batch=case.batch,
        backend=backend,
        reason=_reason_for(backend, error),
        mode=case.mode,
        threads=threads,
        workers=case.workers,
        repeat=repeat,
    )


def _reason_for(backend: str, error: MissingDependencyError) -> str:
    """Why a backend did not run: its state on this machine where that is the reason, else the error's words."""
    from resnet_deploy.engine.availability import available_backends

    status = next((s for s in available_backends() if s.name == backend), None)
    return status.reason if status is not None and status.reason else f"not run: {error.message}"


def _timed(
    runner: Runner, item: Described, case: Case, setup: Setup, watch: Watch
) -> tuple[Timing, Application | None]:
    options, sampling = setup.options, setup.options.sampling
    if case.mode == "application":
        spec = item.manifest.preprocess
        return measure_application(
            runner,
            spec,
            setup.photos or synthetic_photos(spec),
            batch=case.batch,
            sampling=sampling,
            decode_threads=options.decode_threads,
            watch=watch,
        )
    feeds = input_of(runner, item.manifest, batch=case.batch, size_px=options.size_px)
    if case.workers > 1:
        return measure_workers(runner, feeds, workers=case.workers, sampling=sampling, watch=watch), None
    return measure(runner, feeds, sampling=sampling, watch=watch), None
