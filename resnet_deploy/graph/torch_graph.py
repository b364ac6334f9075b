"""An ONNX graph that runs in PyTorch: differentiable, from any tensor to any other.

ONNX Runtime says what a file computes; this says how its output moves with a weight or a scale, which
refinement after rounding, sensitivity and quantisation-aware training need. It runs in float32 throughout.
"""

from __future__ import annotations

__all__ = ["TorchGraph"]

from collections.abc import Callable, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.index import attributes_of
from resnet_deploy.graph.torch_ops import OPERATORS, Attributes

Change = Callable[[Tensor], Tensor]


class TorchGraph:
    """The nodes of a graph and its constants as tensors.

    Attributes:
        constants: By name, float32 (integers that are shapes, axes and the like stay int64, FP8 stays FP8). A caller
            may put other tensors in their place, ones with gradients too.
        nodes: The graph's, in its order.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        unknown = sorted({node.op_type for node in model.graph.node if node.op_type not in OPERATORS})
        if unknown:
            raise GraphError(
                f"the graph has operators that can not be run in PyTorch here: {', '.join(unknown)}",
                remedy=f"known are {', '.join(sorted(OPERATORS))}",
            )
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.input_names = [tensor.name for tensor in model.graph.input]
        self.output_names = [tensor.name for tensor in model.graph.output]
        self.constants: dict[str, Tensor] = {
            tensor.name: _as_tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
        }
        self._check_zero_points()
        self._attributes: list[Attributes] = [attributes_of(node) for node in self.nodes]
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], list[tuple[int, tuple[str, ...]]]] = {}

    def _check_zero_points(self) -> None:
        for node in self.nodes:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3 or not node.input[2]:
                continue
            zero_point = self.constants.get(node.input[2])
            if zero_point is None or (zero_point.numel() > 1 and bool(zero_point.float().any())):
                problem = "a zero point that is computed, or several that are not 0"
            elif zero_point.dtype == torch.int64:
                problem = "a zero point that is not int8"
            else:
                continue
            raise GraphError(
                f"node {node.name!r} has {problem}", remedy="quantise to int8, symmetrically, as TensorRT asks for"
            )

    def run(
        self,
        feeds: Mapping[str, Tensor],
        outputs: Sequence[str] | None = None,
        *,
        change: Mapping[str, Change] | None = None,
    ) -> list[Tensor]:
        """Compute `outputs` from `feeds`; only the nodes between the two run, and a tensor lives as long as it is read.

        Args:
            feeds: Tensors by name, [N, ...] float32: the graph's input, or any tensors inside that cut the outputs
                off from it.
            outputs: Names of tensors; None takes the graph's outputs.
            change: What to do with a tensor as soon as it is there, by name: all its readers see the result.
        Raises:
            GraphError: An output can not be computed from `feeds`.
        """
        wanted = self.output_names if outputs is None else list(outputs)
        changes = {} if change is None else change
        values = {name: changes[name](value) if name in changes else value for name, value in feeds.items()}
        for index, dead in self._plan(tuple(feeds), tuple(wanted)):
            node = self.nodes[index]
            inputs = [self._value(name, values) if name else None for name in node.input]
            result = OPERATORS[node.op_type](inputs, self._attributes[index])
            name = node.output[0]
            values[name] = changes[name](result) if name in changes else result
            for gone in dead:
                del values[gone]
        return [self._value(name, values) for name in wanted]

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        found = values.get(name)
        return self.constants[name] if found is None else found

    def _plan(self, feeds: tuple[str, ...], wanted: tuple[str, ...]) -> list[tuple[int, tuple[str, ...]]]:
        """Nodes to run, each with the tensors that nothing reads afterwards."""
        key = (feeds, wanted)
        if key not in self._plans:
            needed, steps = set(wanted) - set(feeds), []
            last_reader: dict[str, int] = {}
            for index in reversed(range(len(self.nodes))):
                node = self.nodes[index]
                if not needed.intersection(node.output):
                    continue
                needed.difference_update(node.output)
                reads = {name for name in node.input if name and name not in self.constants}
                needed |= reads - set(feeds)
                dead = tuple(sorted(name for name in reads if name not in last_reader and name not in wanted))
                last_reader |= dict.fromkeys(reads, index)
                steps.append((index, dead))
            if missing := sorted(needed - set(self.constants)):
                raise GraphError(f"tensor {missing[0]!r} is not computed from {', '.join(feeds) or 'nothing'}")
            self._plans[key] = list(reversed(steps))
        return self._plans[key]


def _as_tensor(values: np.ndarray) -> Tensor:
    if values.dtype == ml_dtypes.float8_e4m3fn:  # QuantizeLinear sees by its zero point what it shall round to
        return torch.from_numpy(np.array(values).view(np.uint8)).view(torch.float8_e4m3fn)
    is_number = np.issubdtype(values.dtype, np.floating) or values.dtype in (np.int8, ml_dtypes.bfloat16)
    return torch.from_numpy(np.array(values, dtype=np.float32 if is_number else np.int64))
