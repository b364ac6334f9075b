"""FP32 ONNX + calibration table -> INT8 or FP8 ONNX with explicit Q/DQ."""

from __future__ import annotations

__all__ = ["QuantizeOptions", "QuantizeResult", "quantize_onnx"]

import time
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import is_up_to_date, read_manifest, refuse_pixels, write_manifest
from resnet_deploy.core.config import from_plain, to_plain
from resnet_deploy.core.errors import ArtifactError, ConfigError, GraphError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.graph.files import write_onnx
from resnet_deploy.quant.audit import audit_model
from resnet_deploy.quant.grid import GRIDS
from resnet_deploy.quant.network import check_decides, read_network
from resnet_deploy.quant.placement import Refusal
from resnet_deploy.quant.prepare import FLOAT_PRECISIONS, delivered, prepare
from resnet_deploy.quant.refine import RefinementGain, RefineOptions, open_refinement_images, refine_model
from resnet_deploy.quant.sample import net_stem
from resnet_deploy.quant.trt_cache import UNPROVEN, read_scales
from resnet_deploy.quant.unsigned import UnsignedTensors

_PACKAGES = ("onnx", "numpy")
_LASTING_DETAILS = ("form", "members", "note")
"""What `export` says of a network that is still true of its quantised form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeOptions:
    """What to quantise.

    Attributes:
        onnx: FP32 file that `export` wrote.
        table: Calibration table made from that very file, or a TensorRT calibration cache; None takes
            `<stem>.calib.json` beside it.
        precision: INT8, or FP8 (E4M3) with NVIDIA's exclusions, see `quant.fp8`.
        float_precision: Of everything that is not quantised: FP16, BF16 or FP32.
        exclude: Names of nodes that stay in floating point.
        keep_float: Names of tensors that are never rounded: all that reads them stays in floating point.
        exact_input: Let an INT8 network read the pixels themselves, see `quant.exact_input`.
        unsigned_relu: Which ReLU outputs use all 256 numbers of int8, see `quant.unsigned`. INT8 only. The biases
            that hold the shift stay FP32, with the scales around them: FP16 has too few bits.
        refine: Refinement after rounding; None leaves it out. INT8 only.
        out: File to write; None takes `<stem>.<precision>.onnx` beside the ONNX file.
        force: Quantise even where the file is up to date.
    """

    onnx: Path
    table: Path | None = None
    precision: Precision = Precision.INT8
    float_precision: Precision = Precision.FP16
    exclude: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()
    exact_input: bool = True
    unsigned_relu: UnsignedRelu = UnsignedRelu.OFF
    refine: RefineOptions | None = None
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision not in GRIDS:
            raise ConfigError(f"precision is {self.precision}, expected {' or '.join(GRIDS)}")
        if self.float_precision not in FLOAT_PRECISIONS:
            raise ConfigError(f"float_precision is {self.float_precision}, expected fp16, bf16 or fp32")
        if self.unsigned_relu is not UnsignedRelu.OFF and self.precision is not Precision.INT8:
            raise ConfigError(f"unsigned_relu is for int8, precision is {self.precision}")
        if self.refine is not None and self.precision is not Precision.INT8:
            raise ConfigError(f"refinement is for int8, precision is {self.precision}")

    def file(self) -> Path:
        """Where the quantised file goes."""
        return self._beside(f".{self.precision}.onnx") if self.out is None else Path(self.out)

    def table_file(self) -> Path:
        """Where the table is."""
        return self._beside(".calib.json") if self.table is None else Path(self.table)

    def _beside(self, suffix: str) -> Path:
        return Path(self.onnx).with_name(f"{net_stem(self.onnx)}{suffix}")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeResult:
    """A finished INT8 or FP8 file.

    Attributes:
        num_layers: Conv and Gemm nodes in int8 or FP8.
        num_pairs: Q/DQ pairs on activations.
        exact_input: "exact", or why the image is rounded as any other tensor.
        unsigned: ReLU outputs that use all of int8, and why others do not; empty where none was asked for.
        refusals: What stays in floating point, and why.
        gains: Of every step of refinement; empty without one.
        audit: What runs in INT8 or FP8 and what fuses, in one line.
        warnings: What makes the scales doubtful: that they came from a TensorRT cache.
    """

    file: Path
    precision: Precision
    method: str
    float_precision: Precision
    num_layers: int
    num_pairs: int
    refusals: tuple[Refusal, ...]
    exact_input: str
    unsigned: UnsignedTensors
    gains: tuple[RefinementGain, ...]
    audit: str
    warnings: tuple[str, ...]
    size_bytes: int
    seconds: float
    skipped: bool


def quantize_onnx(options: QuantizeOptions, progress: Progress = NO_PROGRESS) -> QuantizeResult:
    """Write the INT8 or FP8 form of an FP32 network, in the form that TensorRT fuses.

    Raises:
        ArtifactError: The ONNX file or the table is missing, changed, or of another kind.
        ArtifactMismatchError: The table was made for another network.
        CalibrationError: The table or cache lacks a tensor, or a weight is NaN; names it.
        GraphError: `exclude` names no node, or a weight does not fit FP16.
    """
    start = time.perf_counter()
    file, table_file = options.file(), options.table_file()
    manifest = read_manifest(options.onnx, kind="onnx")
    refuse_pixels(options.onnx, manifest)
    if manifest.precision is not Precision.FP32:
        raise ArtifactError(
            f"{options.onnx} is {manifest.precision}, quantisation starts from the FP32 file",
            remedy="make one with `resnet-deploy export`",
        )
    table = read_scales(table_file, options.onnx, manifest)
    inputs = {"onnx": Path(options.onnx), "calibration": table_file}
    made_with = {
        "precision": options.precision,
        "float_precision": options.float_precision,
        "exclude": sorted(options.exclude),
        "keep_float": sorted(options.keep_float),
        "exact_input": options.exact_input,
        "unsigned_relu": options.unsigned_relu,
        "refine": None if options.refine is None else {**to_plain(options.refine), "data": None},
    }
    if options.refine is not None:
        check_decides(manifest, file=Path(options.onnx), what="refinement")
    images = None if options.refine is None else open_refinement_images(options.refine)
    if images is not None:
        inputs["images"] = (images.description, images.fingerprint())
    skipped = not options.force and is_up_to_date(file, stage="quantize", inputs=inputs, options=made_with)
    if not skipped:
        progress.start(f"quantize {file.name}", None)
        network = read_network(options.onnx, manifest)
        steps = prepare(
            network.model,
            table,
            precision=options.precision,
            float_precision=options.float_precision,
            exclude=options.exclude,
            keep_float=options.keep_float,
            preprocess=manifest.preprocess if options.exact_input else None,
            unsigned_relu=options.unsigned_relu,
        )
        quantized, gains = steps.quantized, ()
        if images is not None:
            quantized, gains, _ = refine_model(
                steps.original,
                quantized,
                images,
                manifest.preprocess,
                options.refine,
                float_precision=options.float_precision,
                progress=progress,
            )
        quantized = delivered(quantized, options.float_precision)
        network.complete(quantized)
        audit = _audited(quantized, name=str(file))
        write_onnx(quantized, file)
        write_manifest(
            file,
            kind="onnx",
            stage="quantize",
            inputs=inputs,
            options=made_with,
            packages=_PACKAGES,
            parent=manifest,
            precision=options.precision,
            details={
                "weights": manifest.details.get("weights", "not known"),
                **{key: manifest.details[key] for key in _LASTING_DETAILS if key in manifest.details},
                "method": GRIDS[options.precision].method or table.method,
                "num_layers": len(steps.placement.weights),
                "num_pairs": len({(read.tensor, read.scale_of) for read in steps.placement.reads}),
                "refusals": steps.placement.refusals,
                "exact_input": steps.exact_input,
                "unsigned": steps.unsigned,
                "gains": gains,
                "audit": audit,
                "warnings": () if table.names_images else (UNPROVEN,),
            },
        )
    written = read_manifest(file, kind="onnx", verify=False)
    return QuantizeResult(
        file=file,
        precision=options.precision,
        method=written.details["method"],
        float_precision=options.float_precision,
        num_layers=written.details["num_layers"],
        num_pairs=written.details["num_pairs"],
        refusals=tuple(from_plain(Refusal, item, source=str(file)) for item in written.details["refusals"]),
        exact_input=written.details["exact_input"],
        unsigned=from_plain(UnsignedTensors, written.details["unsigned"], source=str(file)),
        gains=tuple(from_plain(RefinementGain, item, source=str(file)) for item in written.details["gains"]),
        audit=written.details["audit"],
        warnings=tuple(written.details["warnings"]),
        size_bytes=written.size_bytes,
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )


def _audited(model: onnx.ModelProto, *, name: str) -> str:
    """The audit's line.

    Raises:
        GraphError: A layer that was meant to be quantised would not run so: nothing is written.
    """
    audit = audit_model(model)
    if not audit.passed:
        raise GraphError(
            f"{name}: {', '.join(layer.node for layer in audit.failed_layers)} would not run quantised: {audit.summary}",
            remedy="leave them in floating point with --exclude",
        )
    return audit.summary
