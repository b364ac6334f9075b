"""TensorRT's legacy calibration cache, for implicit INT8 on TensorRT 8 and 10: written from a table, read into one.

A text file. The first line is `TRT-<version>-<algorithm>`, every other one `<tensor>: <hex>`, where the digits are
the IEEE 754 single-precision bits, most significant first, of the tensor's scale: amax / 127.

Source: NVIDIA TensorRT, README of sampleINT8, "Calibration file"; the byte order by NVIDIA in
https://forums.developer.nvidia.com/t/109781.
"""

from __future__ import annotations

__all__ = [
    "UNPROVEN",
    "is_calibration_cache",
    "read_calibration_cache",
    "read_scales",
    "trt_version_number",
    "write_calibration_cache",
]

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from resnet_deploy.core.artifacts import Manifest
from resnet_deploy.core.errors import ArtifactError, CalibrationError, ConfigError
from resnet_deploy.core.files import atomic_write
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.table import CalibrationTable, TensorScale, read_table

_ALGORITHM = "EntropyCalibration2"  # the calibrator that trtexec's --calib and most applications ask for
_FIRST_LINE = re.compile(r"TRT-(\w+)-(\w+)")
_SHOWN = 10

UNPROVEN = (
    "the scales are from a TensorRT calibration cache: nothing in it proves that it belongs to this network, "
    "or says which images it was made from"
)


def write_calibration_cache(
    table: CalibrationTable, model: onnx.ModelProto, path: Path, *, trt_version: str = "8.6.1"
) -> None:
    """Write the scales of all tensors that `model` quantises, a max-pool's input with its output's.

    The algorithm's name is always that of TensorRT's entropy calibrator, whatever the table's method: it only has
    to be the one of the calibrator that reads the file.

    Args:
        trt_version: Of the TensorRT that will read it, "major.minor.patch".
    Raises:
        CalibrationError: The table lacks a tensor of the network.
        ConfigError: `trt_version` is no version.
    """
    scales = {read.tensor: table.scale(read.scale_of) for read in find_placement(model).reads}
    lines = [f"TRT-{trt_version_number(trt_version)}-{_ALGORITHM}"]
    lines += [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    with atomic_write(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_calibration_cache(path: Path) -> bool:
    """Whether the file begins like a calibration cache; False where there is none."""
    path = Path(path)
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"TRT-"


def read_scales(path: Path, onnx_file: Path, manifest: Manifest) -> CalibrationTable:
    """The table in a file, or the scales of a calibration cache as a table.

    Args:
        onnx_file: The FP32 network, which is read only for a cache.
        manifest: Of that network. Where it was imported, a cache made for the original file calls the input as that
            file does.
    Raises:
        ArtifactError, ArtifactMismatchError: As `table.read_table`.
        CalibrationError: The cache lacks tensors that the network quantises; lists them.
    """
    if not is_calibration_cache(path):
        return read_table(path, network_sha256=manifest.sha256)
    original = manifest.details.get("normalised", {}).get("input")
    renamed = {"images": original} if original else {}
    return read_calibration_cache(path, read_onnx(onnx_file), network_sha256=manifest.sha256, renamed=renamed)


def read_calibration_cache(
    path: Path, model: onnx.ModelProto, *, network_sha256: str, renamed: Mapping[str, str] | None = None
) -> CalibrationTable:
    """The table of a network whose tensors a cache gives scales for.

    A cache holds nothing but scales: the table has no images, no extremes and no counts. Tensors of the cache that
    the network does not quantise are left out.

    Args:
        model: FP32, with the tensor names that the cache was made for.
        network_sha256: Of its file; a cache does not say for which network it was made.
        renamed: Tensor of `model` -> what the cache may call it instead.
    Raises:
        ArtifactError: Missing, or not a calibration cache; names the line.
        CalibrationError: The cache lacks tensors that the network quantises; lists them.
    """
    algorithm, scales = _parse(Path(path))
    for name, other in (renamed or {}).items():
        if name not in scales and other in scales:
            scales[name] = scales[other]
    wanted = find_placement(model).tensors
    if missing := [name for name in wanted if name not in scales]:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise CalibrationError(
            f"{path} has {len(scales)} tensors, but not {len(missing)} of the {len(wanted)} that this network needs: "
            f"{', '.join(missing[:_SHOWN])}{more}",
            remedy="give the cache of this network with these tensor names, or calibrate it",
        )
    return CalibrationTable(
        network_sha256=network_sha256,
        method=f"TensorRT cache, {algorithm}",
        num_images=0,
        num_distinct=0,
        num_constant=0,
        tensors={
            name: TensorScale(
                amax=float(np.float32(127.0 * scales[name])),
                scale=scales[name],
                minimum=0.0,
                maximum=0.0,
                num_values=0,
                num_zeros=0,
                note="from a TensorRT calibration cache, its values were not seen",
            )
            for name in wanted
        },
        images=(),
    )


def _parse(path: Path) -> tuple[str, dict[str, float]]:
    remedy = "expected a first line such as TRT-8601-EntropyCalibration2, then `tensor: 3c010a14` on every line"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactError(f"{path}: no such calibration cache", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not a calibration cache: {error}", remedy=remedy) from error
    head = _FIRST_LINE.fullmatch(lines[0].strip()) if lines else None
    if head is None:
        got = lines[0][:40] if lines else "nothing"
        raise ArtifactError(f"{path} is not a calibration cache: line 1 is {got!r}", remedy=remedy)
    scales = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        name, colon, digits = line.rpartition(":")  # a tensor's name may hold colons
        digits = digits.strip()
        if not (name and colon and re.fullmatch(r"[0-9a-fA-F]{1,8}", digits)):
            raise ArtifactError(f"{path}, line {number}: got {line[:60]!r}", remedy=remedy)
        (scale,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))  # leading zeros may be missing
        if not (math.isfinite(scale) and scale > 0):
            raise ArtifactError(
                f"{path}, line {number}: the scale of {name!r} is {scale}, expected a positive number",
                remedy="make the cache again",
            )
        scales[name] = scale
    return head[2], scales


def trt_version_number(version: str) -> int:
    """8601 of "8.6.1" and 100900 of "10.9.0", as TensorRT's NV_TENSORRT_VERSION counts.

    Source: NvInferVersion.h: up to 8.x major * 1000 + minor * 100 + patch, from 10 on major * 10000 + ....
    """
    if not re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", version):
        raise ConfigError(f"TensorRT version {version!r}: expected major.minor.patch, such as 8.6.1")
    major, minor, patch = (int(part) for part in version.split("."))
    return major * (10_000 if major >= 10 else 1_000) + minor * 100 + patch
