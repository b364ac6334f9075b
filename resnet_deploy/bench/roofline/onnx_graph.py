"""The operations of an ONNX file, with the types its tensors really have (casts, explicit Q/DQ)."""

from __future__ import annotations

__all__ = ["operations_of_model"]

import math

import onnx
from onnx import TensorProto

from resnet_deploy.bench.roofline.operations import Operation, OperationGraph, Value, Weight, values_touched
from resnet_deploy.core.errors import GraphError
from resnet_deploy.engine.onnx_file import tensor_specs
from resnet_deploy.graph.index import GraphIndex, attribute_of
from resnet_deploy.graph.layer_cost import multiply_adds, shape_of, tensor_shapes
from resnet_deploy.graph.pixel_prefix import takes_pixels
from resnet_deploy.graph.types import element_types

_KIND_OF_NODE = {
    "Conv": "conv", "Gemm": "linear", "MatMul": "linear",
    "MaxPool": "pool", "AveragePool": "pool", "GlobalAveragePool": "pool", "GlobalMaxPool": "pool",
    "ReduceMean": "pool",
    "BatchNormalization": "pointwise", "Relu": "pointwise", "Clip": "pointwise", "Mul": "pointwise", "Sub": "pointwise",
    "Div": "pointwise", "Add": "pointwise", "Round": "pointwise", "LeakyRelu": "pointwise", "Sigmoid": "pointwise",
    "Softmax": "pointwise",
    "Identity": "view", "Dropout": "view", "Flatten": "view", "Reshape": "view", "Squeeze": "view",
    "Unsqueeze": "view", "Slice": "view", "Pad": "view",
    "Cast": "retype", "QuantizeLinear": "retype", "DequantizeLinear": "retype",
}  # fmt: skip

_TYPES = {
    TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16", TensorProto.UINT16: "uint16", TensorProto.INT32: "int32", TensorProto.UINT32: "uint32",
    TensorProto.INT64: "int64", TensorProto.UINT64: "uint64", TensorProto.BOOL: "bool",
    TensorProto.FLOAT8E4M3FN: "float8", TensorProto.FLOAT8E5M2: "float8",
    TensorProto.FLOAT8E4M3FNUZ: "float8", TensorProto.FLOAT8E5M2FNUZ: "float8",
}  # fmt: skip


def operations_of_model(model: onnx.ModelProto) -> OperationGraph:
    """Read a graph at batch 1.

    Raises:
        GraphError: A shape is not known, an element type is none of a network's, or the input is no image.
    """
    return _Reader(model).read()


class _Reader:
    """The graph with its shapes and types; constants are followed through what only repacks them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        if takes_pixels(tensor_specs(model.graph.input)):
            raise GraphError(
                "the graph prepares images of any size itself, so that its bytes and operations have no number",
                remedy="give the file it was made from: preprocessing in the graph comes on top",
            )
        self.graph = GraphIndex(model.graph)
        self.shapes = tensor_shapes(model)
        self.types = element_types(model)
        self.constants: dict[str, Weight] = {}  # name -> as it is stored
        for tensor in model.graph.initializer:
            self.constants[tensor.name] = Weight(
                elements=math.prod(tensor.dims), type=self._type(tensor.name, tensor.data_type)
            )

    def read(self) -> OperationGraph:
        graph = self.graph.graph
        images = [tensor for tensor in graph.input if tensor.name not in self.constants]
        sides = self.shapes[images[0].name][2:] if images else []
        if len(images) != 1 or len(sides) != 2:
            raise GraphError(
                f"the graph has the inputs {', '.join(t.name for t in images) or 'none'}, expected one of images "
                "[N, C, H, W]"
            )
        operations = [operation for node in graph.node if (operation := self._operation(node)) is not None]
        outputs = {tensor.name: self._value(tensor.name, graph.node[-1]) for tensor in graph.output}
        return OperationGraph(
            operations=tuple(operations),
            inputs={images[0].name: self._value(images[0].name, graph.node[0])},
            outputs=outputs,
            height_px=sides[0],
            width_px=sides[1],
        )

    def _operation(self, node: onnx.NodeProto) -> Operation | None:
        """None for a node that only makes a constant."""
        names = [name for name in node.input if name]
        moved = tuple(name for name in names if name not in self.constants)
        if not moved:
            self._follow_constant(node)
            return None
        kind = _KIND_OF_NODE.get(node.op_type, "other")
        if kind == "pointwise" and len(moved) > 1:
            kind = "add" if node.op_type == "Add" and len(moved) == 2 else "other"
        if kind in ("conv", "linear") and names[1] not in self.constants:
            kind = "other"  # both factors are computed: no weight
        return Operation(
            kind=kind,
            name=node.name or node.output[0],
            inputs=moved,
            output=node.output[0],
            value=self._value(node.output[0], node),
            weights=self._weights(node, kind, names),
            multiply_adds=multiply_adds(node, self.shapes),
            num_read=self._num_read(node),
        )

    def _num_read(self, node: onnx.NodeProto) -> int | None:
        if node.op_type != "Conv":
            return None
        channels = shape_of(self.shapes, node.input[0], node)[1]
        kernel = shape_of(self.shapes, node.input[1], node)[2:]
        strides = attribute_of(node, "strides", [1] * len(kernel))
        return values_touched(channels, kernel, strides, shape_of(self.shapes, node.output[0], node)[2:])

    def _weights(self, node: onnx.NodeProto, kind: str, names: list[str]) -> tuple[Weight, ...]:
        """What the layer reads besides activations; scales, zero points and shapes are left out."""
        if kind in ("conv", "linear"):
            weight, bias = self.constants[names[1]], names[2:3]
            found = [self.constants[name] for name in bias if name in self.constants]
            return (weight, *(Weight(elements=b.elements, type=b.type, is_bias=True) for b in found))
        if node.op_type == "BatchNormalization":  # folded: what is left of it is a bias
            return (
                Weight(elements=self.constants[names[2]].elements, type=self.constants[names[2]].type, is_bias=True),
            )
        if node.op_type in ("Add", "Sub", "Mul", "Div"):
            found = [self.constants[name] for name in names if name in self.constants]
            return tuple(Weight(elements=c.elements, type=c.type, is_bias=True) for c in found)
        return ()

    def _follow_constant(self, node: onnx.NodeProto) -> None:
        """A constant made of constants is stored in the narrowest form on its way."""
        for name in node.output:
            made = self._value(name, node)
            source = self.constants.get(node.input[0]) if node.input else None
            if source is None or made.num_bytes <= source.num_bytes:
                source = Weight(elements=made.elements, type=made.type)
            self.constants[name] = source

    def _value(self, name: str, node: onnx.NodeProto) -> Value:
        elements = math.prod(shape_of(self.shapes, name, node))
        return Value(elements=elements, type=self._type(name, self.types.get(name, 0)))

    def _type(self, name: str, element_type: int) -> str:
        if element_type not in _TYPES:
            raise GraphError(
                f"tensor {name!r} has the element type {TensorProto.DataType.Name(element_type)}, which is none of: "
                f"{', '.join(sorted(set(_TYPES.values())))}"
            )
        return _TYPES[element_type]
