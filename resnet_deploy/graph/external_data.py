"""ONNX files that keep their weights in files beside them, read with suspicion."""

from __future__ import annotations

__all__ = ["read_onnx_with_data"]

from pathlib import Path, PurePosixPath

import onnx
from onnx import external_data_helper

from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.graph.files import parse_onnx


def read_onnx_with_data(path: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """Read an ONNX file of any exporter, its weights included.

    The files that the weights lie in must be in the same folder, or in one below it, and be no links.

    Returns:
        The model with all weights in it, and the files they were in; none where the ONNX file held them all.
    Raises:
        ArtifactError: A file is missing or too short.
        GraphError: It is not an ONNX file, or names a file outside of its folder.
    """
    path = Path(path)
    model = parse_onnx(path, again="copy or export it again")
    outside = [tensor for tensor in _all_tensors(model) if external_data_helper.uses_external_data(tensor)]
    files = dict.fromkeys(_checked_file(path, tensor) for tensor in outside)
    if outside:
        try:
            external_data_helper.load_external_data_for_model(model, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ArtifactError(
                f"{path}: its weights can not be read: {reason}", remedy="copy both files again"
            ) from error
    return model, tuple(files)


def _all_tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    tensors = list(model.graph.initializer)
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    return tensors


def _checked_file(path: Path, tensor: onnx.TensorProto) -> Path:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    parts = PurePosixPath(location).parts
    file = path.parent.joinpath(*parts) if parts else path.parent
    inside = bool(parts) and not PurePosixPath(location).is_absolute() and ".." not in parts and "\\" not in location
    if not inside or file.is_symlink() or not file.resolve().is_relative_to(path.parent.resolve()):
        raise GraphError(
            f"{path}: the weight {tensor.name!r} lies in {location!r}, outside of the file's folder",
            remedy="put the weights' file beside the ONNX file and save the model again with onnx.save",
        )
    if not file.is_file():
        raise ArtifactError(
            f"{file}: no such file; {path.name} keeps its weights there", remedy="copy it beside the ONNX file"
        )
    return file
