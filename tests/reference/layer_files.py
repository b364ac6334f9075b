"""Layer files as TensorRT's engine inspector writes them, made up for a graph, in the layouts of 10.x and of 11.x.

The layout of 10.x is that of the ResNet files in NVIDIA's trt-engine-explorer (examples/pytorch/resnet) and of the
output in github.com/NVIDIA/TensorRT issue 4020; that of 11.x is known from NVIDIA's page "Migrating IEngineInspector
Usage from TensorRT 10.x to 11.x", the names of its compiler's layers from public notes on engines of 11.x.
"""

from __future__ import annotations

__all__ = ["Row", "document_10x", "document_11x", "residual_rows"]

from dataclasses import dataclass, field
from typing import Any

_WORDS = {  # as 10.x has them
    "int8": "Thirty-two wide channel vectorized row major Int8 format",
    "fp16": "Channel major FP16 format where channel % 8 == 0",
    "fp32": "Row major linear FP32",
}
_TYPES = {"int8": "Int8", "fp16": "Half", "fp32": "Float"}  # as 11.x has them
_SHAPE = [1, 8, 16, 16]


@dataclass
class Row:
    """One layer: what it reads and writes, and the ONNX nodes in it."""

    nodes: list[str]
    reads: str
    writes: str
    kind: str = "convolution"
    addends: list[str] = field(default_factory=list)
    origin: str = ""


def residual_rows(
    *, floats: tuple[str, ...] = (), wide: tuple[str, ...] = (), alone: tuple[str, ...] = ()
) -> list[Row]:
    """Layers of `qdq_graphs.int8_residual` as an ideal builder makes them, with faults where they are asked for.

    Args:
        floats: Convolutions that run in FP16, with a conversion in front and behind.
        wide: Convolutions that write FP32, converted by another layer.
        alone: Blocks whose addition is a layer of its own.
    """
    rows = [Row(["images.quantize"], "fp32", "int8", kind="reformat", origin="QDQ"), *_conv("conv1", floats, wide)]
    rows.append(Row(["maxpool"], "int8", "int8", kind="pool"))
    for block in ("layer1.0", "layer1.1", "layer2.0"):
        rows += _conv(f"{block}.conv1", floats, wide) + _conv(f"{block}.conv2", floats, wide)
        if block != "layer1.1":
            rows += _conv(f"{block}.downsample.0", floats, wide)
        if block in alone:
            rows += _conv(f"{block}.conv3", floats, wide)
            rows.append(Row([f"{block}.add", f"{block}.relu_2"], "int8", "int8", kind="pointwise"))
        else:
            rows += _conv(f"{block}.conv3", floats, wide, f"{block}.add", f"{block}.relu_2")
    rows.append(Row(["avgpool"], "int8", "int8", kind="pool"))
    rows.append(Row(["fc"], "int8", "fp32", kind="matrix product"))
    return rows


def _conv(name: str, floats: tuple[str, ...], wide: tuple[str, ...], *fused: str) -> list[Row]:
    addends = ["int8"] if fused else []
    if name in floats:
        return [
            Row([], "int8", "fp16", kind="reformat", origin="REFORMAT"),
            Row([name, *fused], "fp16", "fp16", addends=addends),
            Row([f"{name}.quantize"], "fp16", "int8", kind="reformat", origin="QDQ"),
        ]
    if name in wide:
        back = Row([f"{name}.quantize"], "fp32", "int8", kind="reformat", origin="QDQ")
        return [Row([f"{name}.weight.dequantize", name, *fused], "int8", "fp32", addends=addends), back]
    return [Row([f"{name}.weight.dequantize", name, *fused], "int8", "int8", addends=addends)]


def document_10x(rows: list[Row]) -> dict[str, Any]:
    """`Layers` with `Format/Datatype`, and `Bindings`."""

    def tensor(name: str, dtype: str) -> dict[str, Any]:
        return {"Name": name, "Location": "Device", "Dimensions": _SHAPE, "Format/Datatype": _WORDS[dtype]}

    layers = []
    for index, row in enumerate(rows):
        inputs = [tensor(f"t{index}", row.reads), *(tensor(f"add{index}", dtype) for dtype in row.addends)]
        layer: dict[str, Any] = {
            "Name": " + ".join(row.nodes) or f"Reformatting CopyNode for Input Tensor 0 to layer {index + 1}",
            "LayerType": {
                "convolution": "CaskConvolution",
                "matrix product": "CaskGemmMatrixMultiply",
                "pool": "CaskPooling",
                "reformat": "Reformat",
                "pointwise": "PointWiseV2",
            }[row.kind],
            "Inputs": inputs,
            "Outputs": [tensor(f"t{index + 1}", row.writes)],
            "TacticValue": "0x11bde0e1d9f2f35d",
            "StreamId": 0,
            "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in row.nodes),
        }
        if row.kind in ("convolution", "matrix product"):
            layer |= {
                "ParameterType": "Convolution" if row.kind == "convolution" else "MatrixMultiply",
                "Weights": {"Type": {"int8": "Int8", "fp16": "Half"}[row.reads], "Count": 576},
                "Bias": {"Type": "Float", "Count": 8},
                "TacticName": f"sm80_xmma_fprop_implicit_gemm_{row.reads}",
            }
        if row.origin:
            layer["Origin"] = row.origin
        layers.append(layer)
    return {"Layers": layers, "Bindings": ["t0", f"t{len(rows)}"]}


def document_11x(rows: list[Row]) -> dict[str, Any]:
    """`Layers` with `Format` and `DataType` apart and weights under `Constants`, and `I/O Tensors`."""

    def tensor(name: str, dtype: str, shape: list[int] = _SHAPE) -> dict[str, Any]:
        return {"Name": name, "Dimensions": shape, "DataType": _TYPES[dtype], "Format": "Row major linear (kLINEAR)"}

    layers = []
    for index, row in enumerate(rows):
        layer: dict[str, Any] = {
            "Name": f"{row.nodes[0] if row.nodes else '__myl_Cast'}_myl0_{index}",
            "LayerType": {"convolution": "correlation", "matrix product": "gemm", "pool": "maxpool"}.get(
                row.kind, "kgen"
            ),
            "Inputs": [tensor(f"t{index}", row.reads), *(tensor(f"add{index}", dtype) for dtype in row.addends)],
            "Outputs": [tensor(f"t{index + 1}", row.writes)],
            "StreamId": 0,
            "Metadata": "\x1f".join(f"[ONNX Layer: {node}]" for node in row.nodes),
        }
        if row.kind in ("convolution", "matrix product"):
            layer["Constants"] = [tensor(f"w{index}", row.reads, [8, 8, 3, 3]), tensor(f"b{index}", "fp32", [8])]
        layers.append(layer)
    io = [("t0", "Input", _SHAPE), (f"t{len(rows)}", "Output", [1, 10])]
    return {
        "Layers": layers,
        "I/O Tensors": [
            {
                "Name": name,
                "IOMode": mode,
                "DataType": "Float",
                "Dimensions": shape,
                "Location": "Device",
                "IsShapeInferenceIO": False,
                "ProfileInfo": [{"MinShape": shape, "OptShape": shape, "MaxShape": shape, "Format": "kLINEAR"}],
            }
            for name, mode, shape in io
        ],
    }
