"""A small chain of files, checkpoint left out: ONNX and an engine that is a header with noise, and the bundle of it."""

from __future__ import annotations

__all__ = ["LABELS", "PIXELS", "make_chain", "sound_bundle", "write_engine", "write_onnx"]

import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.core.specs import OutputKind, Precision, Preprocess
from resnet_deploy.pipeline.bundle.make import BundleOptions, make_bundle

LABELS = ("ant", "bee", "cat", "dog", "eel")
PIXELS = Preprocess(
    height_px=16, width_px=16, resize_shorter_px=20, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def _model(seed: int, *, output: str, dtype: int, num_outputs: int) -> onnx.ModelProto:
    """3 x 16 x 16 -> Conv 8, ReLU, mean -> num_outputs."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (num_outputs, 8), "c": (num_outputs,)}
    np_type = helper.tensor_dtype_to_np_dtype(dtype)
    stored = [numpy_helper.from_array(rng.normal(size=s).astype(np_type), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "c"], [output], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", dtype, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info(output, dtype, ["N", num_outputs])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_onnx(
    file: Path,
    *,
    seed: int = 0,
    precision: Precision = Precision.FP32,
    name: str = "small",
    labels: tuple[str, ...] | None = LABELS,
    output: OutputKind = OutputKind.LOGITS,
    dtype: int = TensorProto.FLOAT,
    checkpoint: str = "0" * 64,
) -> Path:
    """An ONNX file with a manifest, as `export` leaves it."""
    onnx.save(_model(seed, output=str(output), dtype=dtype, num_outputs=len(LABELS)), file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        inputs={"checkpoint": ("small.safetensors", checkpoint)},
        net=NetRecord(name=name, num_classes=len(LABELS), output=output),
        preprocess=PIXELS,
        labels=labels,
        precision=precision,
    )
    return file


def write_engine(
    file: Path, onnx_file: Path, *, precision: Precision = Precision.FP32, largest: int = 8, smallest: int = 1
):
    """A file with the header of a TensorRT-RTX engine for sm86 and sm89, and its manifest, as `build` leaves it."""
    from resnet_deploy.core.artifacts import read_manifest

    body = np.random.default_rng(7).bytes(700)
    header = struct.pack("<4sIIIQ4B4xI28x", b"vtrt", 0, 0, 0, 64 + len(body), 1, 7, 1, 116, 0x04 | 0x08)
    file.write_bytes(header + body)
    shape = (3, 16, 16)
    write_manifest(
        file,
        kind="engine",
        stage="build",
        inputs={"onnx": onnx_file},
        parent=read_manifest(onnx_file),
        precision=precision,
        details={"profiles": [{"min": (smallest, *shape), "opt": (largest, *shape), "max": (largest, *shape)}]},
    )
    return file


def make_chain(folder: Path) -> tuple[Path, Path]:
    """An engine and the ONNX file it is from."""
    onnx_file = write_onnx(folder / "small.fp32.onnx")
    return write_engine(folder / "small.fp32.engine", onnx_file), onnx_file


def sound_bundle(folder: Path) -> Path:
    """`small.bundle` with engine, ONNX file and labels."""
    engine, _ = make_chain(folder)
    return make_bundle(BundleOptions(files=(engine,), out=folder / "small.bundle")).file
