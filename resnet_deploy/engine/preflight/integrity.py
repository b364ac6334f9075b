"""Is a file whole, and is the manifest beside it the manifest of this very file."""

from __future__ import annotations

__all__ = ["check_header", "check_manifest", "check_weights_file"]

from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.engine.header import EngineHeader, read_engine_header
from resnet_deploy.engine.preflight.bundle_listing import bundle_above
from resnet_deploy.engine.preflight.check import Check, State


def check_header(file: Path) -> tuple[EngineHeader | None, Check]:
    """The header of an engine, None where it has none or is not as long as it says."""
    try:
        header = read_engine_header(file)
    except ArtifactError as error:
        return None, Check(subject="header", state=State.DAMAGED, text=error.message.replace(str(file), "the file", 1))
    length = "as long as its header says" if header.target_mask is not None else "its header tells no length"
    mask = f", target mask {header.target_mask:#x}" if header.target_mask is not None else ""
    text = f"{header.product} {header.version}{mask}; {header.size_bytes:,} bytes, {length}"
    return header, Check(subject="header", state=State.GOOD, text=text)


def check_manifest(file: Path, header: EngineHeader | None = None) -> tuple[Manifest | None, Check]:
    """The manifest beside `file` and whether its SHA-256 is the file's; None where it is not this file's manifest.

    The manifest of a file in a bundle is the `bundle.json` above it.

    A difference has two causes that call for different remedies: the file was changed, or the manifest is another
    file's. The second is told from its name for the file and from what an engine's header says.
    """
    if not manifest_path(file).is_file():
        if (bundle := bundle_above(file)) is not None:
            return None, bundle.check(file)
        return None, _answer(State.NOT_CHECKED, "no manifest beside it, so nothing says which bytes it should have")
    try:
        manifest = read_manifest(file, verify=False)
    except ArtifactError as error:
        return None, _answer(State.DAMAGED, error.message)
    if sha256_of_file(file) == manifest.sha256:
        renamed = f"; the file was {manifest.file} when it was made" if manifest.file != file.name else ""
        return manifest, _answer(State.GOOD, f"SHA-256 {manifest.sha256[:12]}..., as in its manifest{renamed}")
    if owner := _other_owner(file, manifest, header):
        return None, _answer(State.MISFIT, f"it belongs to another file: {owner}")
    size, expected = file.stat().st_size, manifest.size_bytes
    if size < expected:
        text = f"the file was cut off: {size:,} of {expected:,} bytes"
    elif size > expected:
        text = f"the file has {size - expected:,} bytes more than when it was made"
    else:
        text = f"the file was changed, or is of another build: SHA-256 is not {manifest.sha256[:12]}..., same length"
    return manifest, _answer(State.DAMAGED, text + _whole_copy(file, manifest))


def _answer(state: State, text: str) -> Check:
    return Check(subject="manifest", state=state, text=text)


def _other_owner(file: Path, manifest: Manifest, header: EngineHeader | None) -> str | None:
    """What the manifest describes if that is not `file`; None where nothing says so."""
    if manifest.file != file.name:
        return f"it was written for {manifest.file}{_whole_copy(file, manifest)}"
    if header is None:
        return None
    if manifest.kind != "engine":
        return f"it describes a file of kind {manifest.kind!r}"
    told = {"product": header.product, "product_version": header.version, "target_mask": header.target_mask}
    for name, value in told.items():
        if name in manifest.details and manifest.details[name] != value:
            return f"its {name.replace('_', ' ')} is {_shown(manifest.details[name])}, the engine's is {_shown(value)}"
    return None


def _whole_copy(file: Path, manifest: Manifest) -> str:
    """Words for a file beside `file` that has the bytes the manifest describes; empty where there is none."""
    for sibling in sorted(file.parent.iterdir()):
        candidate = sibling.name != file.name and sibling.is_file() and sibling.stat().st_size == manifest.size_bytes
        if candidate and sha256_of_file(sibling) == manifest.sha256:
            return f"; {sibling.name} beside it has those bytes"
    return ""


def _shown(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)


def check_weights_file(file: Path, manifest: Manifest) -> Check:
    """Whether the ONNX file is here that an engine built without its weights takes them from."""
    record = next((one for one in manifest.inputs if one.role == "onnx"), None)
    if record is None:
        return Check(subject="weights", state=State.MISFIT, text="it holds none, and its manifest names no ONNX file")
    source = file.parent / record.file
    if not source.is_file():
        state, text = State.MISFIT, f"it holds none, and {record.file}, which does, is not here"
    elif sha256_of_file(source) != record.sha256:
        state, text = State.MISFIT, f"it holds none, and {record.file} is not the file it was built from"
    else:
        state, text = State.GOOD, f"it holds none; {record.file} does, and is the file it was built from"
    return Check(subject="weights", state=state, text=text)
