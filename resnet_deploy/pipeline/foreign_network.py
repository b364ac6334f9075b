"""An ONNX file made elsewhere, given to a stage that needs one of the chain: it is imported on the way, once."""

from __future__ import annotations

__all__ = ["network_of_chain"]

from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, find_manifest, manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, GraphError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess

_EXAMPLE = "--preprocess imagenet, cifar, digits or FILE.json"


def network_of_chain(
    onnx: Path,
    *,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """The FP32 file with a manifest that stands for `onnx`: itself, or what `import` makes of it, beside it.

    What was imported from this very file before is taken again where nothing else is asked for.

    Args:
        preprocess, labels: What a file without a manifest does not say.
    Raises:
        ConfigError: They are given and the file has a manifest, or the preprocessing is missing, or not square, or the
            imported file's name is taken.
        GraphError: See `export.foreign_onnx.import_onnx`; or the import does not compute the same.
    """
    onnx = Path(onnx)
    if not onnx.is_file():
        raise ArtifactError(f"{onnx}: no such file", remedy="check the path, or make it with `resnet-deploy export`")
    if find_manifest(onnx) is not None:
        if preprocess is not None or labels is not None:
            raise ConfigError(
                f"{onnx} has a manifest, which says its preprocessing and labels",
                remedy="leave --preprocess and --labels away",
            )
        return onnx
    imported = _imported_name(onnx)
    before = _earlier_import(onnx, imported)
    if preprocess is None:
        if before is None or labels is not None or before.input_sha256("onnx") != sha256_of_file(onnx):
            raise ConfigError(
                f"{onnx} has no manifest that says how its images are prepared",
                remedy=f"say it with {_EXAMPLE}; or `resnet-deploy import` the file, which takes each value by itself",
            )
        return imported
    _import(onnx, imported, preprocess, labels, progress)
    return imported


def _import(
    onnx: Path, imported: Path, preprocess: Preprocess, labels: tuple[str, ...] | None, progress: Progress
) -> None:
    from resnet_deploy.export.foreign_onnx import ForeignOnnxOptions, import_onnx

    if preprocess.height_px != preprocess.width_px:
        raise ConfigError(
            f"{onnx}: images of {preprocess.height_px}x{preprocess.width_px} px, import takes square ones"
        )
    options = ForeignOnnxOptions(
        file=onnx,
        out=imported,
        size_px=preprocess.height_px,
        resize_px=preprocess.resize_shorter_px,
        mean=preprocess.mean,
        std=preprocess.std,
        labels=labels,
    )
    try:
        result = import_onnx(options, progress)
    except GraphError as error:
        raise GraphError(error.message, remedy=_remedy(error, onnx)) from error
    if not result.passed:
        raise GraphError(
            f"{onnx}: imported, it does not compute what the original does: the largest difference is "
            f"{result.parity.max_abs_difference:.3g}",
            remedy=f"see `resnet-deploy import {onnx}`",
        )
    if not result.skipped:
        progress.log(f"{onnx} was made elsewhere: imported as {imported}")


def _remedy(error: GraphError, onnx: Path) -> str | None:
    """Options of `import` that this stage does not have are named with their command."""
    if error.remedy is None or "--" not in error.remedy:
        return error.remedy
    return f"{error.remedy}, to `resnet-deploy import {onnx}`"


def _imported_name(onnx: Path) -> Path:
    """`net.fp32.onnx` for `net.onnx`; a name that is there already gets a word more."""
    stem = onnx.name.removesuffix(".onnx")
    if stem.endswith(f".{Precision.FP32}"):
        stem = stem.removesuffix(f".{Precision.FP32}") + ".imported"
    return onnx.with_name(f"{stem}.{Precision.FP32}.onnx")


def _earlier_import(onnx: Path, imported: Path) -> Manifest | None:
    """The manifest of what was imported from a file of this name.

    Raises:
        ConfigError: The name is taken by something else, which is not overwritten.
    """
    if not imported.exists():
        return None
    manifest = read_manifest(imported, verify=False) if manifest_path(imported).is_file() else None
    sources = [record.file for record in manifest.inputs if record.role == "onnx"] if manifest else []
    if manifest is None or manifest.stage != "import" or sources != [onnx.name]:
        raise ConfigError(
            f"{onnx} would be imported as {imported}, which is there and was not made from it",
            remedy=f"`resnet-deploy import {onnx} --out NAME.fp32.onnx`, then give that file",
        )
    return manifest
