"""The calibration table: a small JSON file with one line a tensor, the same bytes for the same images."""

from __future__ import annotations

__all__ = ["TABLE_SCHEMA", "CalibrationTable", "TensorScale", "read_table", "write_table"]

import json
import math
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, CalibrationError, ConfigError
from resnet_deploy.core.files import atomic_write

TABLE_SCHEMA = "resnet-deploy/calibration/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorScale:
    """What calibration found for one tensor.

    Attributes:
        amax: Largest magnitude that int8 represents; 0 where only zeros were seen.
        amax_unsigned: The same where all of int8 stands for 0 and above (see `quant.unsigned`); None for a tensor with
            negative values, or where it is not known.
        scale: amax / 127, or 1 where amax is 0.
        minimum, maximum: Of all values seen.
        num_values: How many were seen.
        num_zeros: How many of them are exactly 0.
        note: Why the scale is not the usual one; "" otherwise.
    """

    amax: float
    scale: float
    minimum: float
    maximum: float
    num_values: int
    num_zeros: int
    amax_unsigned: float | None = None
    note: str = ""

    @property
    def scale_unsigned(self) -> float:
        """amax_unsigned / 255, by `amax` where that is not known; 1 where it is 0."""
        return (self.amax if self.amax_unsigned is None else self.amax_unsigned) / 255 or 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amax) and self.amax >= 0 and math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"amax {self.amax} and scale {self.scale} must be finite, scale positive")
        if not (self.amax_unsigned is None or (math.isfinite(self.amax_unsigned) and self.amax_unsigned >= 0)):
            raise ConfigError(f"amax_unsigned is {self.amax_unsigned}, expected a finite number from 0 on")


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationTable:
    """Scales of a network's activations and what they were made from. Holds no time, path or machine name.

    Attributes:
        network_sha256: Of the FP32 ONNX file whose tensors these are.
        method: How the scales were chosen, see `quant.scales.checked_method`.
        num_images: Images consumed, repeated ones included.
        num_distinct: Different images among them, by pixels.
        num_constant: Images of one colour.
        tensors: By tensor name.
        images: SHA-256 of every distinct image's pixels after resize and crop, sorted.
    """

    network_sha256: str
    method: str
    num_images: int
    num_distinct: int
    num_constant: int
    tensors: dict[str, TensorScale]
    images: tuple[str, ...]
    schema: str = TABLE_SCHEMA

    @property
    def names_images(self) -> bool:
        """Whether it says what it was made from; what was read from a TensorRT cache does not."""
        return self.num_images > 0

    def scale(self, tensor: str) -> float:
        """The int8 scale of a tensor; raises as `entry`."""
        return self.entry(tensor).scale

    def entry(self, tensor: str) -> TensorScale:
        """What was found for a tensor.

        Raises:
            CalibrationError: The table does not have it.
        """
        if tensor not in self.tensors:
            raise CalibrationError(
                f"the calibration table has no tensor {tensor!r}; it has {len(self.tensors)}",
                remedy="calibrate this ONNX file again",
            )
        return self.tensors[tensor]


def write_table(table: CalibrationTable, path: Path) -> None:
    """Write the table; keys sorted, one line a tensor and an image, so that two tables can be compared line by line."""
    plain = to_plain(table)
    lines = ["{"]
    for key in ("schema", "network_sha256", "method", "num_images", "num_distinct", "num_constant"):
        lines.append(f" {json.dumps(key)}: {json.dumps(plain[key])},")
    tensors = (f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in sorted(plain["tensors"].items()))
    lines += [' "tensors": {', ",\n".join(tensors), " },"]
    lines += [' "images": [', ",\n".join(f"  {json.dumps(i)}" for i in plain["images"]), " ]", "}"]
    with atomic_write(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table(path: Path, *, network_sha256: str | None = None) -> CalibrationTable:
    """Read a table and check that it is one.

    Args:
        network_sha256: Of the ONNX file it will be used with; None leaves that open.
    Raises:
        ArtifactError: Missing, cut off, or no calibration table.
        ArtifactMismatchError: Made for another network.
    """
    path = Path(path)
    again = "make it again with `resnet-deploy calibrate`"
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("TRT-"):
            raise ArtifactError(
                f"{path} is a TensorRT calibration cache, not a table", remedy="give it to `resnet-deploy quantize`"
            )
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.get("schema") != TABLE_SCHEMA:
            got = plain.get("schema") if isinstance(plain, dict) else type(plain).__name__
            raise ArtifactError(f"{path}: schema is {got!r}, expected {TABLE_SCHEMA!r}", remedy=again)
        table = from_plain(CalibrationTable, plain, source=str(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactError(
            f"{path}: no such calibration table",
            remedy="make one with `resnet-deploy calibrate`, or name it with --table",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ArtifactError(f"{path} is not a calibration table: {error}", remedy=again) from error
    if network_sha256 is not None and table.network_sha256 != network_sha256:
        raise ArtifactMismatchError(
            f"{path} was made for the network with SHA-256 {table.network_sha256[:12]}..., "
            f"this one has {network_sha256[:12]}...",
            remedy="calibrate this ONNX file, or give the table that was made for it",
        )
    return table
