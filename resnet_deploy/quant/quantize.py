"""FP32 ONNX + calibration table -> INT8 ONNX with explicit Q/DQ."""

from __future__ import annotations

__all__ = ["QuantizeOptions", "QuantizeResult", "quantize_model", "quantize_onnx"]

import time
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.quant.insertion import insert_qdq
from resnet_deploy.quant.placement import Placement, Refusal, find_placement
from resnet_deploy.quant.table import CalibrationTable, read_table

_PACKAGES = ("onnx", "numpy")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeOptions:
    """What to quantise.

    Attributes:
        onnx: FP32 file that `export` wrote.
        table: Calibration table made from that very file; None takes `<stem>.calib.json` beside it.
        float_precision: Of everything that is not int8: FP16 or FP32.
        exclude: Names of nodes that stay in floating point.
        out: File to write; None takes `<stem>.int8.onnx` beside the ONNX file.
        force: Quantise even where the file is up to date.
    """

    onnx: Path
    table: Path | None = None
    float_precision: Precision = Precision.FP16
    exclude: tuple[str, ...] = ()
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.float_precision not in (Precision.FP16, Precision.FP32):
            raise ConfigError(f"float_precision is {self.float_precision}, expected fp16 or fp32")

    def file(self) -> Path:
        """Where the INT8 file goes."""
        return self._beside(".int8.onnx") if self.out is None else Path(self.out)

    def table_file(self) -> Path:
        """Where the table is."""
        return self._beside(".calib.json") if self.table is None else Path(self.table)

    def _beside(self, suffix: str) -> Path:
        stem = Path(self.onnx).name.removesuffix(".onnx").removesuffix(f".{Precision.FP32}")
        return Path(self.onnx).with_name(f"{stem}{suffix}")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeResult:
    """A finished INT8 file.

    Attributes:
        num_layers: Conv and Gemm nodes in int8.
        num_pairs: Q/DQ pairs on activations.
        refusals: What stays in floating point, and why.
    """

    file: Path
    method: str
    float_precision: Precision
    num_layers: int
    num_pairs: int
    refusals: tuple[Refusal, ...]
    size_bytes: int
    seconds: float
    skipped: bool


def quantize_onnx(options: QuantizeOptions, progress: Progress = NO_PROGRESS) -> QuantizeResult:
    """Write the INT8 form of an FP32 network, in the form that TensorRT fuses.

    Raises:
        ArtifactError: The ONNX file or the table is missing, changed, or of another kind.
        ArtifactMismatchError: The table was made for another network.
        CalibrationError: The table lacks a tensor, or a weight is NaN; names it.
        GraphError: `exclude` names no node, or a weight does not fit FP16.
    """
    start = time.perf_counter()
    file, table_file = options.file(), options.table_file()
    manifest = read_manifest(options.onnx, kind="onnx")
    if manifest.precision is not Precision.FP32:
        raise ArtifactError(
            f"{options.onnx} is {manifest.precision}, quantisation starts from the FP32 file",
            remedy="make one with `resnet-deploy export`",
        )
    table = read_table(table_file, network_sha256=manifest.sha256)
    inputs = {"onnx": Path(options.onnx), "calibration": table_file}
    made_with = {"float_precision": options.float_precision, "exclude": sorted(options.exclude)}
    skipped = not options.force and is_up_to_date(file, stage="quantize", inputs=inputs, options=made_with)
    if not skipped:
        progress.start(f"quantize {file.name}", None)
        model = read_onnx(options.onnx)
        int8, placement = quantize_model(model, table, float_precision=options.float_precision, exclude=options.exclude)
        write_onnx(int8, file)
        write_manifest(
            file,
            kind="onnx",
            stage="quantize",
            inputs=inputs,
            options=made_with,
            packages=_PACKAGES,
            parent=manifest,
            precision=Precision.INT8,
            details={
                "weights": manifest.details.get("weights", "not known"),
                "method": table.method,
                "num_layers": len(placement.weights),
                "num_pairs": len({(read.tensor, read.scale_of) for read in placement.reads}),
                "refusals": placement.refusals,
            },
        )
    written = read_manifest(file, kind="onnx", verify=False)
    return QuantizeResult(
        file=file,
        method=written.details["method"],
        float_precision=options.float_precision,
        num_layers=written.details["num_layers"],
        num_pairs=written.details["num_pairs"],
        refusals=tuple(from_plain(Refusal, item, source=str(file)) for item in written.details["refusals"]),
        size_bytes=written.size_bytes,
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


def quantize_model(
    model: onnx.ModelProto, table: CalibrationTable, *, float_precision: Precision, exclude: tuple[str, ...] = ()
) -> tuple[onnx.ModelProto, Placement]:
    """The INT8 form of an FP32 graph, and what was placed where."""
    placement = find_placement(model, exclude=exclude)
    int8 = insert_qdq(model, placement, table, float_precision=float_precision)
    return (fp16_from_fp32(int8) if float_precision is Precision.FP16 else int8), placement
