"""The layers of a finished engine: what each reads and writes, and which ONNX nodes it came from."""

from __future__ import annotations

__all__ = ["EngineLayer", "EngineLayers", "LayerTensor", "element_type", "kind_of_layer", "onnx_nodes_of"]

import math
import re
from dataclasses import dataclass

_BITS = {
    "fp64": 64,
    "fp32": 32,
    "fp16": 16,
    "bf16": 16,
    "fp8": 8,
    "fp4": 4,
    "int64": 64,
    "int32": 32,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "bool": 8,
}
_FLOATS = ("fp64", "fp32", "fp16", "bf16")

_ELEMENT_TYPES = (  # the first that is found counts: "uint8" holds "int8", "bfloat16" holds "float16"
    ("bf16", r"bfloat16|bf16"),
    ("fp8", r"fp8|float8|e4m3|e5m2"),
    ("fp4", r"fp4|e2m1"),
    ("uint8", r"uint8"),
    ("int64", r"int64"),
    ("int32", r"int32"),
    ("int4", r"int4"),
    ("int8", r"int8"),
    ("bool", r"bool"),
    ("fp16", r"fp16|float16|half"),
    ("fp64", r"double|fp64"),
    ("fp32", r"fp32|float32|tf32|float"),
)

# "..._i8f16_i8i32_f32_...": type of the activation, then of the result
_TACTIC_TYPES = re.compile(r"_(i8|s8|u8|f16|f32|bf16|e4m3)(i8|s8|u8|f16|f32|bf16|e4m3)_")
_TACTIC_NAMES = {"i8": "int8", "s8": "int8", "u8": "uint8", "f16": "fp16", "f32": "fp32", "bf16": "bf16", "e4m3": "fp8"}
_TACTIC_MARKS = (("imma", "int8"), ("int8x", "int8"), ("qmma", "fp8"), ("hmma", "fp16"), ("h1688", "fp16"))

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\x1e\x1f]{1,512}?)\](?=[\x1e\x1f\[\s_]|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTensor:
    """What flows between two layers.

    Attributes:
        dtype: "int8", "fp8", "fp16", "bf16", "fp32", ...; empty where it was not told.
        format: Its layout in memory, in the product's words.
        shape: -1 for an axis that is chosen at run time; None where it was not told.
    """

    name: str
    dtype: str
    format: str = ""
    shape: tuple[int, ...] | None = None

    @property
    def num_values(self) -> int | None:
        """With 1 for an axis that is not known: for one image, where that is the batch."""
        return None if self.shape is None else math.prod(size if size > 0 else 1 for size in self.shape)

    @property
    def num_bytes(self) -> int | None:
        """Size without padding; None where type or shape was not told."""
        if self.num_values is None or self.dtype not in _BITS:
            return None
        return math.ceil(self.num_values * _BITS[self.dtype] / 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLayer:
    """One kernel, or a few that the product counts as one.

    Attributes:
        type: As the product calls it, e.g. "CaskConvolution", "kgen", "corrltn".
        kind: "convolution", "matrix product", "pool", "reformat", "nothing" (no kernel) or "other".
        inputs: Without constants, where the product tells them apart.
        weights: Type of its weight; empty where it has none or it was not told.
        tactic: Name of the kernel; empty where it is chosen when the engine is loaded.
        nodes: ONNX nodes that are computed in it.
    """

    name: str
    type: str
    kind: str
    inputs: tuple[LayerTensor, ...]
    outputs: tuple[LayerTensor, ...]
    weights: str = ""
    tactic: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def multiplies(self) -> bool:
        """It is one of those that take the time, and that precision is about."""
        return self.kind in ("convolution", "matrix product")

    @property
    def reads(self) -> str:
        """Type of its activation, from the tensor or else from the kernel's name; empty where neither tells."""
        return (self.inputs[0].dtype if self.inputs else "") or self._by_tactic(1)

    @property
    def writes(self) -> str:
        """Type of its result."""
        return (self.outputs[0].dtype if self.outputs else "") or self._by_tactic(2)

    @property
    def uses_tf32(self) -> bool:
        """It rounds FP32 to TF32 before it multiplies."""
        return "tf32" in self.tactic.lower()

    @property
    def converts(self) -> bool:
        """It multiplies nothing, and changes the type: to or from floating point, or from one float to another."""
        if self.multiplies or self.kind in ("pool", "nothing"):
            return False
        before, after = self.main_input, self.main_output
        return bool(before and after) and before != after and bool({before, after} & set(_FLOATS))

    @property
    def main_input(self) -> str:
        """Type of the largest tensor it reads: a kernel that adds two maps may list the smaller type first."""
        return _largest_type(self.inputs)

    @property
    def main_output(self) -> str:
        """Type of the largest tensor it writes."""
        return _largest_type(self.outputs)

    @property
    def moved_bytes(self) -> int | None:
        """Read and written, weights not counted; None where a size was not told."""
        sizes = [tensor.num_bytes for tensor in (*self.inputs, *self.outputs)]
        return None if None in sizes or not sizes else sum(sizes)

    def _by_tactic(self, group: int) -> str:
        if (found := _TACTIC_TYPES.search(self.tactic)) is not None:
            return _TACTIC_NAMES[found[group]]
        marks = (dtype for mark, dtype in _TACTIC_MARKS if mark in self.tactic)
        return next(marks, "") if group == 1 else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLayers:
    """What is known of an engine's layers.

    Attributes:
        source: Where it was learnt: "the engine inspector", "the program text in the engine", or a file's name.
        product, version: Empty where the source does not say.
        layout: Of the source: "10.x", "11.x" or "program text".
        layers: In the order in which they run; of the first optimization profile.
        io: Inputs and outputs of the engine.
        num_profiles: Optimization profiles with layers of their own.
        targets: GPUs it was built for, e.g. "sm86", where the source says so.
    """

    source: str
    layout: str
    layers: tuple[EngineLayer, ...]
    io: tuple[LayerTensor, ...] = ()
    product: str = ""
    version: str = ""
    num_profiles: int = 1
    targets: tuple[str, ...] = ()


def element_type(text: str) -> str:
    """Type of a tensor's values from the product's words, e.g. "Channel major FP16 format" or "Int8"; else empty."""
    lowered = text.lower()
    return next((name for name, pattern in _ELEMENT_TYPES if re.search(pattern, lowered)), "")


def kind_of_layer(layer_type: str, parameter_type: str = "", name: str = "") -> str:
    """What a layer is, from the type that the product gives it (see `EngineLayer.kind`)."""
    text = f"{layer_type} {parameter_type}".lower()
    if layer_type.lower() == "noop":
        return "nothing"
    if "conv" in text or "correlation" in text or "corrltn" in text:
        return "convolution"
    if any(word in text for word in ("gemm", "matmul", "matrixmultiply", "fullyconnected", "fully_connected")):
        return "matrix product"
    if "pool" in text:
        return "pool"
    if "reformat" in text or name.startswith("Reformatting CopyNode"):
        return "reformat"
    return "other"


def onnx_nodes_of(metadata: str) -> tuple[str, ...]:
    """Names in "[ONNX Layer: a]\\x1f[ONNX Layer: b]", each once; TensorRT separates them by \\x1e or \\x1f."""
    return tuple(dict.fromkeys(_ONNX_NODE.findall(metadata)))


def _largest_type(tensors: tuple[LayerTensor, ...]) -> str:
    told = [tensor for tensor in tensors if tensor.dtype]
    return max(told, key=lambda tensor: tensor.num_values or 0).dtype if told else ""
