"""An ONNX file of ours -> the same network with its preprocessing in front: uint8 pixels of any size in."""

from __future__ import annotations

__all__ = ["GPU_UNVERIFIED", "InGraphOptions", "export_in_graph", "export_preprocess"]

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from resnet_deploy.core.artifacts import IN_GRAPH, Manifest, is_up_to_date, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError, ExportError
from resnet_deploy.core.files import sha256_of_bytes
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.preprocess import preprocess
from resnet_deploy.export.onnx_export import ExportResult
from resnet_deploy.export.parity import Parity
from resnet_deploy.graph.files import read_onnx, write_onnx
from resnet_deploy.graph.free_axes import fixed_batch
from resnet_deploy.graph.pixel_prefix import PIXELS, preprocess_model, with_pixel_input
from resnet_deploy.graph.session import open_session

GPU_UNVERIFIED = (
    "takes pixels, uint8 [N, height, width, 3] of any size, one size a batch; the bytes are proven on ONNX Runtime, "
    "not yet on a GPU (`make gpu-check`, step in_graph)"
)
_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")
_TOLERANCE = {Precision.FP32: 2.0**-18}
_TOLERANCE_16_BIT = 2.0**-8


@dataclass(frozen=True, kw_only=True, slots=True)
class InGraphOptions:
    """Which network gets its preprocessing in front.

    Attributes:
        onnx: A file that `export`, `import-onnx` or `quantize` wrote; precision and outputs stay as they are.
        out: None puts ".pixels" before the precision: `net.pixels.int8.onnx` beside `net.int8.onnx`.
        force: Write even where the file is up to date.
    """

    onnx: Path
    out: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if Path(self.onnx).suffix != ".onnx":
            raise ConfigError(
                f"{self.onnx}: preprocessing is put before an ONNX file, expected a name that ends in .onnx"
            )
        if self.out is not None and Path(self.out) == Path(self.onnx):
            raise ConfigError(f"--out {self.out} is the file itself, which later stages start from")

    def file(self) -> Path:
        """Where the result goes."""
        source = Path(self.onnx)
        stem, precision = _stem_and_precision(source)
        usual = source.with_name(".".join(filter(None, (stem, "pixels", precision, "onnx"))))
        return usual if self.out is None else Path(self.out)

    def preprocess_file(self) -> Path:
        """Where the preprocessing goes by itself; the same for every precision of a network."""
        source = Path(self.onnx)
        usual = source.with_name(f"{_stem_and_precision(source)[0]}.preprocess.onnx")
        return usual if self.out is None else Path(self.out)


def export_in_graph(options: InGraphOptions, progress: Progress = NO_PROGRESS) -> ExportResult:
    """Write the network with its preprocessing in front; compared with the host's preprocessing before it is written.

    Raises:
        ArtifactError: The file is missing, changed, says no preprocessing, or has it in the graph already.
        ExportError: The new file does not compute what host and old file do.
        GraphError: The network does not take such images.
    """
    start = time.perf_counter()
    file, source = options.file(), Path(options.onnx)
    parent = _host_manifest(source)
    inputs, made_with = {"onnx": source}, {"precision": parent.precision, "preprocess": IN_GRAPH}
    skipped = not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with)
    if not skipped:
        progress.start(f"export {file.name}: comparing with the host's preprocessing", None)
        host = read_onnx(source)
        model = with_pixel_input(host, parent.preprocess, name=str(source))
        _check_bytes(parent.preprocess, name=str(file))
        parity = _parity_with_host(model, host, parent, name=str(file))
        write_onnx(model, file)
        write_manifest(
            file,
            kind="onnx",
            stage="export",
            inputs=inputs,
            options=made_with,
            packages=_PACKAGES,
            parent=parent,
            precision=parent.precision,
            details={
                **parent.details,
                "parity": parity,
                "num_nodes": len(model.graph.node),
                "io": parent.options.get("io", Precision.FP32),
                "preprocess": IN_GRAPH,
                "note": "; ".join(filter(None, (parent.details.get("note"), GPU_UNVERIFIED))),
            },
        )
    return _result(file, start, skipped=skipped)


def export_preprocess(options: InGraphOptions, progress: Progress = NO_PROGRESS) -> ExportResult:
    """Write the preprocessing of a network by itself, uint8 pixels -> float32 `images`, as a server's ensemble wants it.

    Raises:
        As `export_in_graph`.
    """
    start = time.perf_counter()
    parent, file = _host_manifest(Path(options.onnx)), options.preprocess_file()
    inputs, made_with = {"preprocess": _described(parent.preprocess)}, {"preprocess": IN_GRAPH}
    if not options.force and is_up_to_date(file, stage="export", inputs=inputs, options=made_with):
        return _result(file, start, skipped=True)
    progress.start(f"export {file.name}: comparing with the host's preprocessing", None)
    _check_bytes(parent.preprocess, name=str(file))
    model = preprocess_model(parent.preprocess)
    write_onnx(model, file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        preprocess=parent.preprocess,
        precision=Precision.FP32,
        details={
            "weights": "none",
            "parity": Parity(relative_error=0.0, tolerance=0.0),
            "num_nodes": len(model.graph.node),
            "preprocess": IN_GRAPH,
            "note": GPU_UNVERIFIED,
        },
    )
    return _result(file, start, skipped=False)


def _described(spec: Preprocess) -> tuple[str, str]:
    return str(spec), sha256_of_bytes(str(spec).encode())


def _host_manifest(source: Path) -> Manifest:
    manifest = read_manifest(source, kind="onnx")
    if manifest.preprocess is None:
        raise ArtifactError(
            f"{source}: its manifest says no preprocessing", remedy="`resnet-deploy import-onnx` the file with --size"
        )
    if manifest.takes_pixels:
        raise ArtifactError(
            f"{source} has its preprocessing in the graph already", remedy="give the file it was made from"
        )
    return manifest


def _stem_and_precision(file: Path) -> tuple[str, str]:
    """`out/net.int8.onnx` -> "net", "int8"; no precision where the name has none."""
    stem, _, last = file.name.removesuffix(".onnx").rpartition(".")
    return (stem, last) if stem and last in set(map(str, Precision)) else (file.name.removesuffix(".onnx"), "")


def _probe_sizes(spec: Preprocess) -> list[tuple[int, int]]:
    """Height and width: landscape, portrait, elongated, tiny and already right."""
    side = spec.resize_shorter_px
    if side is None:
        return [(spec.height_px, spec.width_px), (spec.height_px + 3, spec.width_px + 8)]
    return [(side * 3 // 2 + 1, side * 2), (side * 9 + 1, side * 2 - 1), (side, side), (side, side + 9), (3, 1)]


def _check_bytes(spec: Preprocess, *, name: str) -> None:
    """The prefix against the host's preprocessing, bit for bit.

    Raises:
        ExportError: They differ; names the size.
    """
    session = open_session(preprocess_model(spec))
    for size in _probe_sizes(spec):
        image = _noise(1, size)
        (got,) = session.run(None, {PIXELS: image})
        if not np.array_equal(got[0], preprocess(image[0], spec)):
            raise ExportError(
                f"{name}: ONNX Runtime's pixels differ from the host's for an image of {size[1]}x{size[0]} px",
                remedy="report the versions of onnxruntime and numpy; preprocess on the host meanwhile",
            )


def _parity_with_host(model: onnx.ModelProto, host: onnx.ModelProto, parent: Manifest, *, name: str) -> Parity:
    """Both networks on the same image, each with its own preprocessing.

    Tolerance: pixels and weights are the same bits, so what differs is the order of sums where ONNX Runtime fuses
    otherwise behind another input: 2^-18 of the largest output in FP32, 2^-8 where 16 bits round it.
    """
    spec = parent.preprocess
    pixels = _noise(fixed_batch(host) or 2, _probe_sizes(spec)[0])
    expected = _outputs(host, np.stack([preprocess(image, spec) for image in pixels]))
    got = _outputs(model, pixels)
    tolerance = _TOLERANCE.get(parent.precision, _TOLERANCE_16_BIT)
    worst = 0.0
    for output, values in expected.items():
        difference = float(np.abs(got[output].astype(np.float64) - values).max())
        worst = max(worst, difference / (float(np.abs(values).max()) or 1.0))
    parity = Parity(relative_error=worst, tolerance=tolerance)
    if not parity:
        raise ExportError(
            f"{name} and its file with preprocessing on the host disagree: {worst:.3g} of the largest value, "
            f"at most {tolerance:.3g} can be rounding",
            remedy="report the network and the versions in its manifest; the file was not written",
        )
    return parity


def _outputs(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(model)
    source = session.get_inputs()[0]
    dtype = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}.get(source.type, np.float32)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {source.name: images.astype(dtype, copy=False)}), strict=True))


def _noise(count: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _result(file: Path, start: float, *, skipped: bool) -> ExportResult:
    manifest = read_manifest(file, kind="onnx", verify=False)
    details: dict[str, Any] = manifest.details
    return ExportResult(
        file=file,
        net=manifest.net.name if manifest.net else "",
        precision=manifest.precision,
        io=Precision(details.get("io", Precision.FP32)),
        weights=details.get("weights", "not known"),
        parity=Parity(**details["parity"]),
        num_nodes=details["num_nodes"],
        size_bytes=manifest.size_bytes,
        note=details["note"],
        seconds=time.perf_counter() - start,
        skipped=skipped,
    )
