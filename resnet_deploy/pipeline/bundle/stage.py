"""The bundle of a deployment: what passed, the fastest first."""

from __future__ import annotations

__all__ = ["bundle_stage"]

import time
from collections.abc import Sequence
from pathlib import Path

from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.pipeline.artifacts import NetFiles
from resnet_deploy.pipeline.bundle.given import read_licence
from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle
from resnet_deploy.pipeline.onnx_files import StageRow
from resnet_deploy.pipeline.plan import BundlePlan, DeployPlan
from resnet_deploy.verify.verdict import Verdict

_PREFERENCE = (Precision.INT8, Precision.FP8, Precision.FP16, Precision.BF16, Precision.FP32)
"""Of engines that passed: the fastest, on nearly every GPU, first."""


def bundle_stage(
    plan: DeployPlan,
    files: NetFiles,
    verdicts: Sequence[Verdict],
    *,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> StageRow:
    """Bundle the engines and the ONNX file of a deployment, without those of a precision that failed a verdict.

    Raises:
        ResnetDeployError: As `make_bundle`.
    """
    out = plan.out / f"{files.checkpoint.name.removesuffix('.safetensors')}.bundle"
    begun = time.perf_counter()
    if not plan.is_trained:
        return StageRow(stage="bundle", file=out, state="not run", note="untrained weights are not for shipping")
    failed = _failed(files, verdicts)
    left = [precision for precision in _PREFERENCE if precision in files.onnx and precision not in failed]
    if not left:
        return StageRow(stage="bundle", file=out, state="not run", note="no file passed its verdict")
    engines = [files.engines[precision] for precision in left if precision in files.engines]
    onnx = files.onnx[Precision.FP32 if Precision.FP32 in left else left[0]]
    result = make_bundle(_options(plan.bundle, (*engines, onnx), out, force), progress)
    note = f"{', '.join(map(str, left))}; {result.size_bytes / 2**20:.1f} MiB"
    if failed:
        note += f"; left out, as they failed: {', '.join(map(str, sorted(failed, key=_PREFERENCE.index)))}"
    state = "up to date" if result.skipped else "done"
    return StageRow(stage="bundle", file=out, state=state, seconds=time.perf_counter() - begun, note=note)


def _failed(files: NetFiles, verdicts: Sequence[Verdict]) -> set[Precision]:
    names = {Path(verdict.candidate.file) for verdict in verdicts if not verdict.passed}
    return {
        precision for precision, onnx in files.onnx.items() if onnx in names or files.engines.get(precision) in names
    }


def _options(plan: BundlePlan, files: tuple[Path, ...], out: Path, force: bool) -> BundleOptions:
    key = None
    if plan.sign is not None:
        from resnet_deploy.ship.signature import read_private_key

        key = read_private_key(plan.sign)
    return BundleOptions(
        files=files,
        out=out,
        golden=plan.golden,
        licence=read_licence(plan.licence) if plan.licence is not None else None,
        version=plan.version,
        private_key=key,
        archive=plan.archive,
        force=force,
    )
