"""Layers of a TensorRT-RTX engine from the file itself, without a GPU and without any NVIDIA library.

Observed, not specified. TensorRT-RTX compiles a network to a program, and its engine holds that program as plain
text: tensors with type and shape, then the kernels in order, each with the ONNX nodes it came from. Which instance of
a kernel runs is decided when the engine is loaded on its GPU; what each one reads and writes, and what is fused with
what, is in the text. Found with 1.7.1; a file that does not hold such text is refused, never guessed at.

    "NLYM", 4 bytes, length of the text as 8 bytes little-endian, then the text:
    descriptors { tensor={ ... dims={ "batch" 64 56 56 } name="x" type=half } ... }
    main { corrltn={ name="conv1" output={"y" } input={"x" "w" } ... layers="[ONNX Layer: conv1]" } ... }
"""

from __future__ import annotations

__all__ = ["PROGRAM_SOURCE", "read_program_text"]

import re
import struct
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.engine.header import read_engine_header
from resnet_deploy.engine.inspection.layers import (
    EngineLayer,
    EngineLayers,
    LayerTensor,
    element_type,
    kind_of_layer,
    onnx_nodes_of,
)

PROGRAM_SOURCE = "the program text in the engine"

_MAGIC, _HEAD_BYTES, _BEGIN = b"NLYM", 16, b"header {"
_QUOTED = r'\s*"[^"]*"'
_TENSOR = re.compile(r"^\s*(?:sub_)?tensor=\{ ")
_KERNEL = re.compile(r'^\s*(\w+)=\{ name="?([^"\s]+)')
_DIMS = re.compile(rf" dims=\{{((?:{_QUOTED}|\s+-?\d{{1,18}})*)\s*\}}")
_NAME = re.compile(r' name="([^"]*)"')
_TYPE = re.compile(r" type=(\w+)(?: user_dims=\{[^}]*\})? ?\}")
_LAYERS = re.compile(r' layers="([^"]*)"')
_FULL_NAME = re.compile(r" fqn=(\S+)")
_ACCELERATORS = re.compile(r"^\s*accelerators=\{([\w ]*)\}")
_INSIDE = re.compile(r"^\s*accelerators=\{\*\}", re.MULTILINE)  # a fusion's inside, which names no GPU
_BACKBONE = re.compile(r" backbone=(\w+)")
_LATER_PROFILE = re.compile(r"\[profile \d+\]")  # every optimization profile has a program of its own
_CONTROL = ("bool", "int32", "int64")  # shapes and conditions, which are no data of an image network


def read_program_text(file: Path) -> EngineLayers:
    """Layers of an engine of TensorRT-RTX; nothing is deserialised.

    Raises:
        ArtifactError: Of another product, damaged, or without a text of the form that is known.
    """
    file = Path(file)
    header = read_engine_header(file)
    if header.product != "tensorrt-rtx":
        raise ArtifactError(
            f"{file} is an engine of {header.product}, only TensorRT-RTX writes its program as text",
            remedy="ask the engine on its GPU, or give a file of trtexec --exportLayerInfo",
        )
    texts = _outer(_texts(file.read_bytes()))
    first = [text for text in texts if not any(_LATER_PROFILE.search(name) for name in _io_names(text, "inputs"))]
    layers = tuple(layer for text in first for layer in _layers(text))
    if not any(layer.multiplies for layer in layers):
        raise ArtifactError(
            f"{file}: {len(texts)} program texts with {len(layers)} kernels, expected one with convolutions; "
            f"TensorRT-RTX {header.version} may write another form than 1.7.1",
            remedy="ask the engine on its GPU, or give a file of trtexec --exportLayerInfo",
        )
    return EngineLayers(
        source=PROGRAM_SOURCE,
        layout="program text",
        product=header.product,
        version=header.version,
        layers=layers,
        io=tuple(tensor for text in first for tensor in _io_tensors(text)),
        num_profiles=1 + len(texts) - len(first),
        targets=tuple(dict.fromkeys(name for text in first for name in _targets(text))),
    )


def _texts(data: bytes) -> list[str]:
    found, start = [], data.find(_MAGIC)
    while start >= 0:
        begin = start + _HEAD_BYTES
        if data[begin : begin + len(_BEGIN)] == _BEGIN:
            (length,) = struct.unpack_from("<Q", data, start + 8)
            if length <= len(data) - begin:
                found.append(data[begin : begin + length].decode("utf-8", errors="replace"))
        start = data.find(_MAGIC, start + 1)
    return found


def _outer(texts: list[str]) -> list[str]:
    """Without the programs that a kernel of an earlier one stands for: a fusion's inside has a text of its own."""
    found, insides = [], set()
    for text in texts:
        if _INSIDE.search(text.partition("}\ndescriptors")[0]):
            continue
        if (made := set(_io_names(text, "outputs"))) and made <= insides:
            continue
        found.append(text)
        for line in _block(text, "main"):
            if line.lstrip().startswith("runtime_fusion={"):
                insides.update(_names(line, "output_args"))
    return found


def _targets(text: str) -> list[str]:
    return next((match[1].split() for match in map(_ACCELERATORS.match, text.splitlines()) if match), [])


def _layers(text: str) -> list[EngineLayer]:
    tensors, constants = _tensors(text)
    found = [
        _layer(line, match[1], match[2], tensors, constants)
        for line in _block(text, "main")
        if (match := _KERNEL.match(line)) is not None
    ]
    return [layer for layer in found if layer.outputs]  # the others only steer: calls, signals between streams


def _tensors(text: str) -> tuple[dict[str, LayerTensor], set[str]]:
    """All tensors by name, and which of them are constants."""
    tensors, constants = {}, set()
    for line in _block(text, "descriptors"):
        name, dtype = _NAME.search(line), _TYPE.search(line)
        if not _TENSOR.match(line) or name is None or dtype is None:
            continue
        dims = _DIMS.search(line)
        sizes = re.findall(r'"[^"]*"|-?\d+', dims[1]) if dims else None
        tensors[name[1]] = LayerTensor(
            name=name[1],
            dtype=element_type(dtype[1]),
            shape=None if sizes is None else tuple(-1 if size.startswith('"') else int(size) for size in sizes),
        )
        if " const_payload_size=" in line:
            constants.add(name[1])
    return tensors, constants


def _block(text: str, name: str) -> list[str]:
    """Lines of the top-level block `name { ... }`."""
    lines = text.splitlines()
    begin = next((index for index, line in enumerate(lines) if line.startswith(f"{name} {{")), None)
    if begin is None:
        return []
    end = next((index for index in range(begin + 1, len(lines)) if lines[index].startswith("}")), len(lines))
    return lines[begin + 1 : end]


def _layer(line: str, operation: str, name: str, tensors: dict[str, LayerTensor], constants: set[str]) -> EngineLayer:
    read = [tensors[x] for x in _names(line, "input", "input_args") if x in tensors]
    written = [tensors[x] for x in _names(line, "output", "output_args") if x in tensors]
    backbone = _BACKBONE.search(line)
    kind = kind_of_layer(backbone[1] if backbone else operation)
    weights = [tensor for tensor in read if tensor.name in constants and tensor.shape and len(tensor.shape) > 1]
    if kind == "other" and weights and "MulSum" in name:  # a matrix product of one row, e.g. "__myl_ReshMulSum"
        kind = "matrix product"
    full_name, nodes = _FULL_NAME.search(line), _LAYERS.search(line)
    return EngineLayer(
        name=name,
        type=operation,
        kind=kind,
        inputs=tuple(x for x in read if x.name not in constants and x.dtype not in _CONTROL),
        outputs=tuple(written),
        weights=max(weights, key=lambda tensor: tensor.num_values or 0).dtype
        if weights and kind in ("convolution", "matrix product")
        else "",
        tactic=full_name[1] if full_name else "",
        nodes=onnx_nodes_of(nodes[1]) if nodes else (),
    )


def _names(line: str, *keys: str) -> list[str]:
    for key in keys:
        if (match := re.search(rf" {key}=\{{((?:{_QUOTED})*)\s*\}}", line)) is not None:
            return re.findall(r'"([^"]*)"', match[1])
    return []


def _io_tensors(text: str) -> list[LayerTensor]:
    tensors, _ = _tensors(text)
    names = (*_io_names(text, "inputs"), *_io_names(text, "outputs"))
    return [tensors[name] for name in names if name in tensors and tensors[name].dtype not in _CONTROL]


def _io_names(text: str, key: str) -> list[str]:
    return next((_names(line, key) for line in _block(text, "header") if line.startswith(f"  {key}=")), [])
