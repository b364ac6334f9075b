"""What a file of the chain is, whether it is whole, and what it was made from; nothing in it is executed."""

from __future__ import annotations

__all__ = ["Inspection", "Origin", "Refusal", "inspect_file", "inspect_files"]

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_deploy.core.artifacts import MANIFEST_SCHEMA, Manifest, manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, GraphError
from resnet_deploy.core.files import content_file, sha256_of_file
from resnet_deploy.engine.inspection.engine_facts import engine_facts, tensor_text
from resnet_deploy.engine.preflight.check import State
from resnet_deploy.engine.preflight.integrity import check_header, check_manifest

_MAX_ORIGINS = 64  # a chain has fewer than ten; a manifest that names itself must not hang us


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A file that this one was made from, directly or not.

    Attributes:
        depth: 1 for a direct input, 2 for an input of that, and so on.
        state: "unchanged", "changed since", "not here", or "not a file" for what is a data set or a network.
    """

    depth: int
    role: str
    name: str
    sha256: str
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        kind: "engine", "onnx", "checkpoint", or what the manifest says.
        manifest_state: "matches", "none", or "does not match: ..." with the reason.
        facts: What the file itself says, by name, in the order to show.
        details: What the stage that made it measured.
        origins: Depth first.
    """

    file: str
    kind: str
    size_bytes: int
    sha256: str
    manifest_state: str
    facts: dict[str, Any]
    options: dict[str, Any]
    versions: dict[str, str]
    details: dict[str, Any]
    origins: tuple[Origin, ...]

    @property
    def sound(self) -> bool:
        """Whether the file is the one its manifest was written for, or has none."""
        return not self.manifest_state.startswith("does not match")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A file that is damaged or of no kind known here: why, and what to do."""

    file: str
    error: str
    remedy: str


def inspect_files(files: Iterable[Path]) -> tuple[Inspection | Refusal, ...]:
    """An answer for every file, so that one that is damaged does not hide the others; see `inspect_file`."""
    return tuple(map(_inspection_or_refusal, files))


def _inspection_or_refusal(file: Path) -> Inspection | Refusal:
    try:
        return inspect_file(file)
    except (ArtifactError, GraphError) as error:
        return Refusal(file=str(file), error=error.message, remedy=error.remedy or "")


def inspect_file(file: Path) -> Inspection:
    """Inspect an engine, an ONNX file, a checkpoint, or any file that has a manifest; or a manifest itself.

    Raises:
        ArtifactError: Missing, empty, cut off, or of no kind known here.
        GraphError: An ONNX file that can not be read.
    """
    file = Path(file)
    if not content_file(file).is_file():
        raise ArtifactError(f"{file}: no such file", remedy="check the path")
    if content_file(file).stat().st_size == 0:
        raise ArtifactError(f"{file} is empty", remedy="make it again")
    if (described := _described_by(file)) is not None:
        file = described
    manifest, state = _manifest_of(file)
    kind, facts = _facts(file, manifest)
    if manifest is not None:
        facts = {**_manifest_facts(manifest), **facts}
    return Inspection(
        file=str(file),
        kind=kind,
        size_bytes=content_file(file).stat().st_size,
        sha256=sha256_of_file(file),
        manifest_state=state,
        facts=facts,
        options=manifest.options if manifest else {},
        versions=manifest.versions if manifest else {},
        details=manifest.details if manifest else {},
        origins=_origins(file, manifest) if manifest else (),
    )


def _described_by(file: Path) -> Path | None:
    """The file that `file` is the manifest of; None where `file` is no manifest."""
    if file.suffix != ".json":
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file} is not JSON, or was cut off: {error}", remedy="make it again") from error
    if not isinstance(data, dict) or data.get("schema") != MANIFEST_SCHEMA:
        return None
    described = file.with_suffix("")
    if not content_file(described).is_file():
        raise ArtifactError(f"{file} is the manifest of {described}, which is not here", remedy="make or copy it again")
    return described


def _manifest_of(file: Path) -> tuple[Manifest | None, str]:
    """The manifest, if it is this file's, and the state; what a manifest says of another file is not shown."""
    if not manifest_path(file).is_file():
        return None, "none"
    header = check_header(file)[0] if file.suffix == ".engine" else None
    manifest, check = check_manifest(file, header)
    return manifest, "matches" if check.state is State.GOOD else f"does not match: {check.text}"


def _manifest_facts(manifest: Manifest) -> dict[str, Any]:
    facts: dict[str, Any] = {"made by": f"resnet-deploy {manifest.stage}", "made": manifest.created}
    if manifest.net is not None:
        facts["net"] = f"{manifest.net.name}, {manifest.net.num_classes} classes"
    if manifest.precision is not None:
        facts["precision"] = str(manifest.precision)
    if (pixels := manifest.preprocess) is not None:
        resize = f"shorter side to {pixels.resize_shorter_px}" if pixels.resize_shorter_px else "no resize"
        where = ", in the graph (not yet proven on a GPU)" if manifest.takes_pixels else ""
        facts["preprocess"] = f"{resize}, centre {pixels.width_px}x{pixels.height_px} px, rule {pixels.version}{where}"
    if manifest.labels:
        shown = ", ".join(manifest.labels[:5])
        facts["labels"] = f"{len(manifest.labels)}: {shown}{', ...' if len(manifest.labels) > 5 else ''}"
    return facts


def _facts(file: Path, manifest: Manifest | None) -> tuple[str, dict[str, Any]]:
    with open(content_file(file), "rb") as stream:
        head = stream.read(8)
    if file.suffix == ".engine" or head[:4] in (b"ftrt", b"vtrt"):
        return "engine", engine_facts(file, manifest)
    if file.suffix == ".onnx":
        return "onnx", _onnx_facts(file)
    if file.suffix == ".safetensors":
        return "checkpoint", _checkpoint_facts(file)
    if manifest is not None:
        return manifest.kind, {}
    raise ArtifactError(
        f"{file} is no engine, ONNX file or checkpoint (it begins with {head!r}) and has no manifest of its own",
        remedy="give a .engine, .onnx or .safetensors file, or one that resnet-deploy made"
        + ("; a bundle from elsewhere belongs to `resnet-deploy bundle verify`" if file.is_dir() else "")
        + ("; a layer file of trtexec belongs to --layers-from" if file.suffix == ".json" else ""),
    )


def _onnx_facts(file: Path) -> dict[str, Any]:
    from onnx import numpy_helper

    from resnet_deploy.core.config import to_plain
    from resnet_deploy.engine.onnx_file import onnx_precision, tensor_specs
    from resnet_deploy.graph.external_data import read_onnx_with_data

    model, _ = read_onnx_with_data(file)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = Counter(node.op_type for node in model.graph.node)
    inputs = tensor_specs(value for value in model.graph.input if value.name not in stored)
    weights = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    types = Counter(str(numpy_helper.to_array(tensor).dtype) for tensor in stored.values())
    return {
        "precision": str(onnx_precision(model)),
        "opset": ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": "; ".join(tensor_text(to_plain(spec)) for spec in inputs),
        "outputs": "; ".join(tensor_text(to_plain(spec)) for spec in tensor_specs(model.graph.output)),
        "nodes": f"{sum(nodes.values())}: " + ", ".join(f"{count} {name}" for name, count in nodes.most_common()),
        "quantized": f"{nodes['QuantizeLinear']} Q, {nodes['DequantizeLinear']} DQ"
        if nodes["DequantizeLinear"]
        else "no",
        "layers with weights": len(weights),
        "stored values": f"{sum(numpy_helper.to_array(tensor).size for tensor in stored.values()):,}",
        "stored tensors": ", ".join(f"{count} {name}" for name, count in types.most_common()),
    }


def _checkpoint_facts(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as archive:
            names = list(archive.keys())
            slices = [archive.get_slice(name) for name in names]
            shapes = [tuple(part.get_shape()) for part in slices]
            types = Counter(part.get_dtype() for part in slices)
    except SafetensorError as error:
        raise ArtifactError(
            f"{file} is not a safetensors file, or was cut off: {error}", remedy="train or import it again"
        ) from error
    trained = [_size(shape) for name, shape in zip(names, shapes, strict=True) if name.endswith((".weight", ".bias"))]
    return {
        "tensors": f"{len(names)}: " + ", ".join(f"{count} {name}" for name, count in types.most_common()),
        "parameters": f"{sum(trained):,}",
    }


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _origins(file: Path, manifest: Manifest) -> tuple[Origin, ...]:
    found: list[Origin] = []
    seen: set[tuple[str, str]] = set()

    def walk(folder: Path, made: Manifest, depth: int) -> None:
        for record in made.inputs:
            if (record.role, record.sha256) in seen or len(found) >= _MAX_ORIGINS:
                continue
            seen.add((record.role, record.sha256))
            path = folder / record.file
            state = _state(path, record.sha256, record.file)
            found.append(Origin(depth=depth, role=record.role, name=record.file, sha256=record.sha256, state=state))
            if state == "unchanged" and manifest_path(path).is_file():
                walk(path.parent, read_manifest(path, verify=False), depth + 1)

    walk(file.parent, manifest, 1)
    return tuple(found)


def _state(path: Path, expected: str, name: str) -> str:
    if content_file(path).is_file():
        return "unchanged" if sha256_of_file(path) == expected else "changed since"
    looks_like_file = Path(name).suffix in (".safetensors", ".onnx", ".json", ".engine", ".pth", ".pt")
    return "not here" if looks_like_file else "not a file"
