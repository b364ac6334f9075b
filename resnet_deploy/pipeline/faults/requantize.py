"""A Q/DQ file of ours made anew as it was, but for some layers that stay in floating point."""

from __future__ import annotations

__all__ = ["Requantized", "requantize"]

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ResnetDeployError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.pipeline.faults.contenders import Contender


class Requantized(NamedTuple):
    """Attributes:
    file: None where it could not be made; `note` says why.
    """

    file: Path | None
    note: str = ""


def requantize(candidate: Contender, exclude: Collection[str], progress: Progress) -> Requantized:
    """Write `<candidate>.bisected.onnx` beside the candidate, in the form that is delivered.

    Args:
        exclude: Names of the layers that go to float, beside those that were.
    """
    manifest, file = candidate.manifest, candidate.onnx
    if manifest is None or manifest.stage != "quantize":
        return Requantized(None, f"{file} was not made by `quantize`: no file without these layers was written")
    if manifest.options.get("refine") is not None:
        return Requantized(
            None,
            f"{file} was refined on images that its manifest does not hold: quantize it with --exclude for each layer",
        )
    sources = {role: _source(file, manifest, role) for role in ("onnx", "calibration")}
    if lacking := [role for role, found in sources.items() if found is None]:
        return Requantized(
            None, f"the {' and '.join(lacking)} file that {file} was made from is not here, or was changed"
        )
    from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx

    asked = manifest.options
    try:
        options = QuantizeOptions(
            onnx=sources["onnx"],
            table=sources["calibration"],
            precision=Precision(asked["precision"]),
            float_precision=Precision(asked["float_precision"]),
            exclude=tuple(sorted({*asked["exclude"], *exclude})),
            keep_float=tuple(asked["keep_float"]),
            exact_input=asked["exact_input"],
            unsigned_relu=UnsignedRelu(asked["unsigned_relu"]),
            out=file.with_name(f"{file.name.removesuffix('.onnx')}.bisected.onnx"),
        )
        return Requantized(quantize_onnx(options, progress).file)
    except (ResnetDeployError, KeyError, ValueError) as error:
        return Requantized(None, f"no file without these layers could be written: {error}")


def _source(file: Path, manifest: Manifest, role: str) -> Path | None:
    record = next((record for record in manifest.inputs if record.role == role), None)
    if record is None:
        return None
    path = file.parent / record.file
    return path if path.is_file() and sha256_of_file(path) == record.sha256 else None
