"""Giving an engine that was built without its weights those of the ONNX file it was built from."""

from __future__ import annotations

__all__ = ["refit_engine", "weights_of_stripped"]

from pathlib import Path
from types import ModuleType
from typing import Any

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import (
    ArtifactError,
    ArtifactMismatchError,
    EngineRunError,
    MissingDependencyError,
)
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.engine.products import trt_logger


def weights_of_stripped(file: Path, manifest: Manifest | None) -> bytes | None:
    """The ONNX file, as bytes, whose weights the engine `file` needs; None where it has its own.

    Raises:
        ArtifactError: The ONNX file that the manifest names is not there, or the manifest names none.
        ArtifactMismatchError: It is another one than the engine was built from.
    """
    if manifest is None or not manifest.details.get("stripped"):
        return None
    record = next((record for record in manifest.inputs if record.role == "onnx"), None)
    if record is None:
        raise ArtifactError(
            f"{file} was built without its weights, and its manifest names no ONNX file",
            remedy="build the engine again",
        )
    source = file.parent / record.file
    if not source.is_file():
        raise ArtifactError(
            f"{file} was built without its weights; they are in {source}, which is not there",
            remedy="put that ONNX file where it was, or build the engine again without --strip",
        )
    data = source.read_bytes()
    if (got := sha256_of_bytes(data)) != record.sha256:
        raise ArtifactMismatchError(
            f"{file} was built without its weights from {source} with SHA-256 {record.sha256[:12]}..., the file "
            f"there has {got[:12]}...",
            remedy="bring that ONNX file back, or build the engine again",
        )
    return data


def refit_engine(trt: ModuleType, engine: Any, onnx: bytes, *, file: Path, log: list[tuple[str, str]]) -> None:
    """Put the weights of an ONNX file into a loaded engine.

    Args:
        file: Of the engine, for messages.
        log: What the product says meanwhile.
    Raises:
        MissingDependencyError: This version of the product can not refit from ONNX.
        EngineRunError: The weights do not fit the engine; carries the product's words.
    """
    if not hasattr(trt, "OnnxParserRefitter"):
        raise MissingDependencyError(
            f"{file} was built without its weights, and {trt.__name__} {trt.__version__} can not refit from an ONNX "
            "file (it has no OnnxParserRefitter)",
            remedy="install a newer version of it, or build the engine again without --strip",
        )
    refitter = trt.Refitter(engine, trt_logger(trt))
    parser = trt.OnnxParserRefitter(refitter, trt_logger(trt))
    if parser.refit_from_bytes(onnx) and refitter.refit_cuda_engine():
        return
    said = [parser.get_error(index).desc().strip() for index in range(parser.num_errors)]
    said += [message for level, message in log if level == "error"]
    missing = list(refitter.get_missing_weights())
    if missing:
        said.append(f"{len(missing)} weights are missing, {missing[0]} the first")
    raise EngineRunError(
        f"{file}: the weights of its ONNX file do not go into it: {'; '.join(said) or 'no reason given'}",
        remedy="build the engine again from that ONNX file",
    )
