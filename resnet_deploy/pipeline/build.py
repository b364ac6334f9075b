"""An engine is built, then asked what became of the precision its ONNX file has: the request is never trusted."""

from __future__ import annotations

__all__ = ["Delivered", "build_and_ask"]

from dataclasses import dataclass
from typing import Any

from resnet_deploy.core.artifacts import read_manifest, update_details
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ResnetDeployError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.engine.building.build import BuildResult, build_engine
from resnet_deploy.engine.building.options import BuildOptions
from resnet_deploy.graph.external_data import read_onnx_with_data
from resnet_deploy.pipeline.layer_source import find_layers
from resnet_deploy.pipeline.realised import compare_precision

_KEY = "realised"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What an engine does, in short; `resnet-deploy inspect ENGINE --layers` has it layer by layer.

    Attributes:
        asked: Precision of the ONNX file.
        known: Whether the engine told; `summary` says why not.
        num_layers, num_as_asked: Convolutions and matrix products, and those that multiply in the type asked for.
        missed: Names of the others.
        reason: Why the first of them does not.
        num_wide: Results that should be quantised and are written wider.
        num_additions_alone: Residual additions that should be fused and are not.
        num_kernels: Of the engine.
    """

    asked: str
    known: bool
    summary: str
    num_layers: int = 0
    num_as_asked: int = 0
    missed: tuple[str, ...] = ()
    reason: str = ""
    num_wide: int = 0
    num_additions_alone: int = 0
    num_kernels: int = 0


def build_and_ask(options: BuildOptions, progress: Progress = NO_PROGRESS) -> tuple[BuildResult, Delivered]:
    """`engine.building.build.build_engine`, and what the engine does.

    An answer is kept in the manifest and not asked for again; where there was none, a GPU may give it another time.

    Raises:
        ResnetDeployError: As `build_engine`. That the engine does not tell is no error.
    """
    result = build_engine(options, progress)
    kept = read_manifest(result.file, verify=False).details.get(_KEY)
    before = None if kept is None else from_plain(Delivered, kept, source=f"{result.file}.json")
    if before is not None and before.known:
        return result, before
    delivered = _ask(options, result)
    if delivered != before:
        update_details(result.file, **{_KEY: delivered})
    return result, delivered


def _ask(options: BuildOptions, result: BuildResult) -> Delivered:
    asked: dict[str, Any] = {"asked": str(result.precision)}
    try:
        source = find_layers(result.file)
        if source.layers is None:
            return Delivered(**asked, known=False, summary=source.note)
        found = compare_precision(read_onnx_with_data(options.onnx)[0], source.layers)
    except ResnetDeployError as error:
        return Delivered(**asked, known=False, summary=error.message)
    wanted = [layer for layer in found.layers if layer.asked_in]
    return Delivered(
        **asked,
        known=True,
        summary=found.summary,
        num_layers=len(wanted),
        num_as_asked=sum(layer.reads_as_asked for layer in wanted),
        missed=tuple(layer.node for layer in found.missed),
        reason=found.missed[0].reason if found.missed else "",
        num_wide=len(found.widened),
        num_additions_alone=len(found.alone),
        num_kernels=found.num_kernels,
    )
