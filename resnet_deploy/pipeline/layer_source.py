"""Where the layers of an engine can be learnt here, and which ONNX file they are to be held against."""

from __future__ import annotations

__all__ = ["LayerSource", "find_layers", "find_onnx"]

from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, EngineRunError, MissingDependencyError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.engine.cuda_driver import query_cuda_driver
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.inspection.inspector import inspect_on_gpu
from resnet_deploy.engine.inspection.layer_json import read_layer_file
from resnet_deploy.engine.inspection.layers import EngineLayers
from resnet_deploy.engine.inspection.program_text import read_program_text


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSource:
    """Attributes:
    layers: None where nothing here can tell them.
    note: Why the engine itself was not asked; empty where it was.
    """

    layers: EngineLayers | None
    note: str


def find_layers(engine: Path, *, layer_file: Path | None = None, trust: bool = False) -> LayerSource:
    """The layers of an engine from the best source there is: a file, the engine on its GPU, the text in the engine.

    Args:
        layer_file: What `trtexec --exportLayerInfo` wrote for the engine, here or elsewhere.
        trust: Deserialise an engine without a manifest or with another hash than its manifest says.
    Raises:
        ArtifactError: Damaged; changed since it was built and to be deserialised; a layer file of unknown form.
    """
    if layer_file is not None:
        return LayerSource(layers=read_layer_file(layer_file), note="")
    product = read_engine_header(engine).product
    driver = query_cuda_driver()
    why_not = driver.reason
    if driver.gpus:
        try:
            return LayerSource(layers=inspect_on_gpu(engine, trust=trust), note="")
        except (MissingDependencyError, EngineRunError) as error:
            why_not = error.message
    if product != "tensorrt-rtx":
        return LayerSource(layers=None, note=f"engine not asked: {why_not}")
    try:
        layers = read_program_text(engine)
    except ArtifactError as error:
        return LayerSource(layers=None, note=f"engine not asked: {why_not}; its text does not tell: {error.message}")
    return LayerSource(layers=layers, note=f"engine not asked: {why_not}; its layers are read from the file")


def find_onnx(engine: Path) -> Path:
    """The ONNX file an engine was built from, by its manifest.

    Raises:
        ArtifactError: No manifest, or the file is not here.
        ArtifactMismatchError: The file was changed since.
    """
    remedy = "name the ONNX file it was built from with --onnx"
    try:
        manifest = read_manifest(engine, kind="engine", verify=False)
    except ArtifactError as error:
        raise ArtifactError(f"{error.message}, so it is not known what was asked of it", remedy=remedy) from error
    record = next((record for record in manifest.inputs if record.role == "onnx"), None)
    if record is None:
        raise ArtifactError(f"the manifest of {engine} names no ONNX file", remedy=remedy)
    file = engine.parent / record.file
    if not file.is_file():
        raise ArtifactError(f"{engine} was built from {file}, which is not here", remedy=remedy)
    if (got := sha256_of_file(file)) != record.sha256:
        raise ArtifactMismatchError(
            f"{file} was changed since {engine} was built: its SHA-256 is {got[:12]}..., "
            f"it was {record.sha256[:12]}...",
            remedy=f"build again, or {remedy}",
        )
    return file
