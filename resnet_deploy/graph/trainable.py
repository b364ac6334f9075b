"""An ONNX graph as a PyTorch module that is trained and written back: same nodes, same names, other numbers."""

from __future__ import annotations

__all__ = ["TrainableGraph"]

from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from resnet_deploy.core.errors import ArtifactMismatchError, GraphError
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.rounding import (
    STORED_TYPES,
    as_stored,
    channel_units,
    master_weight,
    stored_scale,
    weight_scale,
)
from resnet_deploy.graph.rounding_points import (
    RoundedWeight,
    find_rounded_activations,
    find_rounded_weights,
)
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.torch_ops import fake_quantize

_QMAX = 127
_SMALLEST_SHARE = 1 / 16  # of its first value, that a learnt scale may shrink to: it has to stay positive


class _Float(NamedTuple):
    """A weight or bias that stays a float; `key` names the parameter, `unit` its buffer."""

    name: str
    key: str
    unit: str
    dtype: torch.dtype


class _Rounded(NamedTuple):
    """A weight that is rounded to int8; `key` names the parameter, `unit` and `ratio` its buffers."""

    use: RoundedWeight
    key: str
    unit: str
    ratio: str
    dtype: torch.dtype


class TrainableGraph(nn.Module):
    """Weights and biases of Conv and Gemm are parameters; in an INT8 graph they pass through its rounding.

    A step's forward pass computes what the file would that `onnx_of` writes at that moment, but for the order of
    sums and, in an FP16 graph, the rounding of the tensors between.

    Parameters have the units of `original`: where its channels were scaled before they were rounded, a parameter times
    its unit is the weight.

    Args:
        model: Any graph that `TorchGraph` runs, FP32 or with the Q/DQ pairs that `quantize` writes.
        original: The FP32 graph an INT8 `model` was made from: what its weights were before they were rounded.
        learn_scales: Train the scales of the activations too, for inputs [1, 3, H, W] of `input_shape`; not that of
            the image, which no trained layer makes.
    Raises:
        GraphError: An operator or a pair that can not be trained.
        ArtifactMismatchError: `original` is another network.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        original: onnx.ModelProto | None = None,
        learn_scales: bool = False,
        input_shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self._graph = TorchGraph(model)
        self._index = GraphIndex(model.graph)
        self._before = GraphIndex((original or model).graph)
        activations = find_rounded_activations(model.graph)
        self._keys: set[str] = set()
        self._bias_units: dict[str, Tensor] = {}
        self._rounded = [self._add_rounded(use) for use in find_rounded_weights(model.graph)]
        self._floats = [self._add_float(node, position) for node, position in self._float_uses()]
        taken = {one.name for one in self._floats}
        self._constants: dict[str, str] = {}
        for name, value in self._graph.constants.items():
            if value.is_floating_point() and name not in taken:
                self._constants[name] = self._unique_key(name)
                self.register_buffer(self._constants[name], value, persistent=False)
        self._learnt = [r for r in activations if self._is_made_by_layers(r.tensors[0])] if learn_scales else []
        if self._learnt:
            self._add_scales(input_shape)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, K]."""
        feeds = {self._graph.input_names[0]: images}
        feeds |= {name: getattr(self, key) for name, key in self._constants.items()}
        feeds |= {one.name: as_stored(self._weight_of(one), one.dtype) for one in self._floats}
        for one in self._rounded:
            weight = self._weight_of(one)
            scale = _along(self._scale_of(one), one.use.axis, weight.dim())
            feeds[one.use.dequantized] = fake_quantize(weight, scale, low=-_QMAX, high=_QMAX)
        if self._learnt:
            for rounding, scale in zip(self._learnt, self._scales().unbind(), strict=True):
                feeds |= dict.fromkeys(rounding.scales, scale)
        return self._graph.run(feeds)[0]

    @torch.no_grad()
    def onnx_of(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the `model` that this was made from, with the numbers of this moment.

        Weights are rounded as `quantize` rounds them; what was not trained keeps its bytes.
        """
        result = onnx.ModelProto()
        result.CopyFrom(model)
        initializers = {tensor.name: tensor for tensor in result.graph.initializer}
        for one in self._floats:
            _put(initializers[one.name], self._weight_of(one))
        for one in self._rounded:
            weight, scale = self._weight_of(one), self._scale_of(one)
            steps = weight / _along(scale, one.use.axis, weight.dim())
            _put(initializers[one.use.values], steps.round().clamp(-_QMAX, _QMAX))
            _put(initializers[one.use.scale], scale)
        if self._learnt:
            for rounding, scale in zip(self._learnt, self._scales().unbind(), strict=True):
                for name in rounding.scales:
                    _put(initializers[name], scale)
        return result

    def _float_uses(self) -> list[tuple[onnx.NodeProto, int]]:
        """Weights and biases that are constants, where they are read first."""
        found: dict[str, tuple[onnx.NodeProto, int]] = {}
        for node in self._graph.nodes:
            for position in (1, 2) if node.op_type in ("Conv", "Gemm") else ():
                name = node.input[position] if len(node.input) > position else ""
                if name and self._index.is_constant(name):
                    found.setdefault(name, (node, position))
        return list(found.values())

    def _add_float(self, node: onnx.NodeProto, position: int) -> _Float:
        name = node.input[position]
        dtype = STORED_TYPES[self._index.initializer(name).data_type]
        value, before = self._graph.constants[name], self._value_before(node.name, position)
        if before.shape != value.shape:
            raise self._other_network(node.name, value, before)
        unit = self._bias_units.get(node.name, torch.ones(())) if position == 2 else torch.ones(())
        key, unit_key = self._register(name, torch.where(as_stored(before, dtype) == value, before, value), unit)
        return _Float(name, key, unit_key, dtype)

    def _add_rounded(self, use: RoundedWeight) -> _Rounded:
        dtype = STORED_TYPES[self._index.initializer(use.scale).data_type]
        values, scale = self._graph.constants[use.values], self._graph.constants[use.scale].reshape(-1)
        before = self._value_before(use.node, use.position)
        if before.shape != values.shape:
            raise self._other_network(use.node, values, before)
        steps = _along(scale, use.axis, values.dim())
        weight = master_weight(before, values, steps)
        by_rule = weight_scale(weight, use.axis, dtype)
        exact = weight.transpose(0, use.axis).flatten(1).abs().amax(1) / _QMAX
        ratio = torch.where((by_rule == scale) | (exact == 0), 1.0, scale / exact.clamp(min=1e-38))
        rows, columns = channel_units(before, values * steps)
        self._bias_units[use.node] = rows if use.axis == 0 else columns
        unit = rows.unsqueeze(1) * columns
        key, unit_key = self._register(
            use.values.removesuffix(".int8"), weight, unit[(...,) + (None,) * (weight.dim() - 2)]
        )
        ratio_key = self._unique_key(f"{key}:ratio")
        self.register_buffer(ratio_key, ratio, persistent=False)
        return _Rounded(use, key, unit_key, ratio_key, dtype)

    def _register(self, name: str, weight: Tensor, unit: Tensor) -> tuple[str, str]:
        """A parameter that is `weight` in units of `unit`, powers of two; gives the names of both."""
        key = self._unique_key(name)
        self.register_parameter(key, nn.Parameter(weight / unit))
        unit_key = self._unique_key(f"{key}:unit")
        self.register_buffer(unit_key, unit, persistent=False)
        return key, unit_key

    def _weight_of(self, one: _Float | _Rounded) -> Tensor:
        return getattr(self, one.key) * getattr(self, one.unit)

    def _is_made_by_layers(self, tensor: str) -> bool:
        """Whether a Conv or Gemm comes before it."""
        wanted = [tensor]
        while wanted:
            node = self._index.producer(wanted.pop())
            if node is not None and node.op_type in ("Conv", "Gemm"):
                return True
            wanted += node.input if node is not None else ()
        return False

    def _add_scales(self, input_shape: tuple[int, ...]) -> None:
        first = torch.tensor([rounding.value for rounding in self._learnt])
        self.register_buffer("first_scales", first, persistent=False)
        with torch.no_grad():
            images = torch.zeros(input_shape)
            tensors = self._graph.run({self._graph.input_names[0]: images}, [r.tensors[0] for r in self._learnt])
        sizes = torch.tensor([float(tensor.numel()) for tensor in tensors])
        self.register_buffer("scale_gradients", (sizes * _QMAX).rsqrt(), persistent=False)
        self.scale_changes = nn.Parameter(torch.zeros_like(first))

    def _scales(self) -> Tensor:
        """The learnt scale of every rounded activation, with the gradient that LSQ gives it.

        What is trained is the difference to the calibrated scale, so that weight decay draws back to that. Its
        gradient is multiplied by 1 / sqrt(values per image * 127): a scale then moves about as fast as the weights do.

        Source: Esser et al., "Learned step size quantization", arXiv:1902.08153, section 2.2.
        """
        slow = self.scale_changes * self.scale_gradients
        changes = self.scale_changes.detach() + slow - slow.detach()
        scales = torch.maximum(self.first_scales + changes, self.first_scales * _SMALLEST_SHARE)
        dtypes = [STORED_TYPES[self._index.initializer(r.scales[-1]).data_type] for r in self._learnt]
        stored = torch.stack([stored_scale(s, dtype) for s, dtype in zip(scales.unbind(), dtypes, strict=True)])
        return scales + (stored - scales).detach()

    def _scale_of(self, one: _Rounded) -> Tensor:
        return weight_scale(self._weight_of(one), one.use.axis, one.dtype, ratio=getattr(self, one.ratio))

    def _value_before(self, node_name: str, position: int) -> Tensor:
        node = next((node for node in self._before.graph.node if node.name == node_name), None)
        if node is None or len(node.input) <= position or not self._before.is_constant(node.input[position]):
            if self._before.graph is self._index.graph:
                raise GraphError("an INT8 graph is trained together with the FP32 graph it was made from")
            raise ArtifactMismatchError(
                f"the FP32 network has no node {node_name!r} with a constant as input {position}",
                remedy="give the file that this INT8 file was made from",
            )
        return torch.from_numpy(np.array(self._before.constant(node.input[position]), dtype=np.float32))

    def _other_network(self, node: str, ours: Tensor, before: Tensor) -> ArtifactMismatchError:
        return ArtifactMismatchError(
            f"node {node!r} has numbers of shape {list(ours.shape)}, in the FP32 network {list(before.shape)}",
            remedy="give the file that this INT8 file was made from",
        )

    def _unique_key(self, name: str) -> str:
        """A name that PyTorch allows: without dots."""
        key = name.replace(".", "/")
        while key in self._keys:
            key += "'"
        self._keys.add(key)
        return key


def _along(scale: Tensor, axis: int, dims: int) -> Tensor:
    """[K] in the shape that multiplies along `axis`."""
    return scale.reshape([-1 if place == axis % dims else 1 for place in range(dims)])


def _put(initializer: onnx.TensorProto, values: Tensor) -> None:
    """Numbers into an initializer, in its shape and type; one that holds them already is left alone."""
    dtype = helper.tensor_dtype_to_np_dtype(initializer.data_type)
    shaped = values.detach().cpu().contiguous().numpy().reshape(tuple(initializer.dims)).astype(dtype)
    if not np.array_equal(shaped, numpy_helper.to_array(initializer)):
        initializer.CopyFrom(numpy_helper.from_array(shaped, initializer.name))
