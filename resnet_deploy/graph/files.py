"""ONNX files: suspicious reading, checked and deterministic writing."""

from __future__ import annotations

__all__ = ["check_model", "parse_onnx", "read_onnx", "write_onnx"]

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.core.files import atomic_write


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read a self-contained ONNX file.

    Raises:
        ArtifactError: There is no such file.
        GraphError: It is not an ONNX file, is cut off, or keeps its weights elsewhere.
    """
    model = parse_onnx(path, again="make it again with `resnet-deploy export`")
    for initializer in model.graph.initializer:
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            raise GraphError(
                f"{path}: the weight {initializer.name!r} lies in another file",
                remedy="save the model with its weights inside the file",
            )
    return model


def parse_onnx(path: Path, *, again: str) -> onnx.ModelProto:
    """The network in a file, as far as it is in the file itself.

    Args:
        again: What the user can do about a broken file.
    Raises:
        ArtifactError: There is no such file.
        GraphError: It is not an ONNX file, or is cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", remedy=f"check the path, or {again}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise GraphError(
            f"{path} is not an ONNX file, or is cut off ({path.stat().st_size} bytes): {error}", remedy=again
        ) from error
    if not model.graph.node or not model.graph.output:
        raise GraphError(f"{path} holds no network", remedy=again)
    return model


def check_model(model: onnx.ModelProto, *, name: str) -> None:
    """ONNX's own full check: structure, types and inferred shapes.

    Raises:
        GraphError: The model is not valid; carries the checker's first line.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise GraphError(f"{name}: ONNX's checker refuses the graph: {reason}") from error


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Check the model and write it; the same model gives the same bytes."""
    check_model(model, name=str(path))
    with atomic_write(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
