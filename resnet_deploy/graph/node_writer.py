"""Writing arithmetic as ONNX nodes: one method an operation, names made from where it stands."""

from __future__ import annotations

__all__ = ["NodeWriter"]

from itertools import count

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64}


class NodeWriter:
    """Collects nodes and constants; every method gives the name of its result.

    Args:
        prefix: Begins the name of every node and tensor.

    Attributes:
        nodes: In the order in which they were written.
    """

    def __init__(self, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._known: dict[tuple, onnx.TensorProto] = {}
        self._prefix, self._numbers = prefix, count()

    @property
    def constants(self) -> list[onnx.TensorProto]:
        """What the nodes read."""
        return list(self._known.values())

    def within(self, name: str) -> NodeWriter:
        """A writer of the same nodes, for names that begin with `<prefix>.<name>`."""
        inner = NodeWriter(f"{self._prefix}.{name}")
        inner.nodes, inner._known = self.nodes, self._known
        return inner

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """Any operation with one result, which is `output` where that is given."""
        name = f"{self._prefix}.{next(self._numbers)}.{kind}"
        output = output or name
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def int32(self, value: int | np.ndarray) -> str:
        """A constant."""
        return self._constant(np.asarray(value, np.int32))

    def int64(self, value: list[int]) -> str:
        """A constant: shapes, axes and the like, for which ONNX takes nothing else."""
        return self._constant(np.asarray(value, np.int64))

    def float32(self, value: float | np.ndarray) -> str:
        """A constant."""
        return self._constant(np.asarray(value, np.float32))

    def cast(self, value: str, to: str) -> str:
        return self.node("Cast", value, to=_TYPES[to])

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def subtract(self, a: str, b: str) -> str:
        return self.node("Sub", a, b)

    def multiply(self, a: str, b: str) -> str:
        return self.node("Mul", a, b)

    def maximum(self, a: str, b: str) -> str:
        return self.node("Max", a, b)

    def unsqueeze(self, value: str, axis: int) -> str:
        return self.node("Unsqueeze", value, self.int64([axis]))

    def sum(self, value: str, *, axis: int, keep: bool = True) -> str:
        return self.node("ReduceSum", value, self.int64([axis]), keepdims=int(keep))

    def range(self, end: str) -> str:
        """[0, 1, ..., end - 1] int32."""
        return self.node("Range", self.int32(0), end, self.int32(1))

    def odd(self, index: str, length: str) -> str:
        """2 index + 1 - length: twice the way from the middle of an axis to the middle of a pixel."""
        return self.subtract(self.add(self.multiply(index, self.int32(2)), self.int32(1)), length)

    def quotient(self, a: str, b: str) -> str:
        """floor(a / b) of int32 from 0 to 2^31 - 1."""
        return self.divide_exactly(a, b)[0]

    def divide_exactly(self, a: str, b: str) -> tuple[str, str]:
        """floor(a / b) and a - b * floor(a / b), also where Div is one off because it computes in float."""
        guess = self.node("Div", a, b)
        rest = self.subtract(a, self.multiply(guess, b))
        high = self.cast(self.node("Less", rest, self.int32(0)), "int32")
        low = self.cast(self.node("GreaterOrEqual", rest, b), "int32")
        change = self.subtract(low, high)
        return self.add(guess, change), self.subtract(rest, self.multiply(change, b))

    def half_to_even(self, value: str) -> str:
        """value / 2 rounded half to even, of an int32 from 0 to 2^30."""
        two = self.int32(2)
        half = self.node("Div", value, two)
        odd_half = self.subtract(half, self.multiply(self.node("Div", half, two), two))
        return self.node("Div", self.add(value, odd_half), two)

    def _constant(self, value: np.ndarray) -> str:
        """A constant of that value, the same one for all who ask."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = numpy_helper.from_array(value, f"{self._root}.constant.{len(self._known)}")
        return self._known[key].name

    @property
    def _root(self) -> str:
        return self._prefix.partition(".")[0]
