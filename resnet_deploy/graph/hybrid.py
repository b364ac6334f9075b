"""Surgery on two related graphs: marked intermediate results, single layers on given inputs, hybrids of the two.

All that is marked or given is float32 with the reference's meaning, whatever type a graph has inside, so that
comparing code needs to know neither.
"""

from __future__ import annotations

__all__ = ["GIVEN", "GraphPair", "marked_name"]

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.correspondence import Correspondence, Layer, find_layers
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.segments import segment_of, without_unread
from resnet_deploy.graph.types import element_types

GIVEN = "given"
"""The one input of `GraphPair.layers_on_given`."""

_FROM_REFERENCE = "reference/"


def marked_name(tensor: str) -> str:
    """Name of the output in which a reference tensor, or its counterpart, is given out."""
    return f"{tensor}.marked"


class GraphPair:
    """A reference, a candidate, and the layers they share.

    Attributes:
        reference, candidate: Of one opset; the older one was raised.
        layers, missing: See `graph.correspondence.Correspondence`.
    """

    def __init__(
        self, reference: onnx.ModelProto, candidate: onnx.ModelProto, *, only: Collection[str] | None = None
    ) -> None:
        """Pair two graphs.

        Args:
            only: Names of the layers to tell apart; any other belongs to the next of these. None tells all apart.
        Raises:
            GraphError: They are not forms of one network, or one does not fit together.
        """
        self.reference, self.candidate = _of_one_opset(reference, candidate)
        found: Correspondence = find_layers(self.reference, self.candidate)
        self.layers = tuple(layer for layer in found.layers if only is None or layer.node in only)
        self.missing = found.missing
        self._indexes = GraphIndex(self.reference.graph), GraphIndex(self.candidate.graph)
        self._types = element_types(self.reference), element_types(self.candidate)
        inputs = [model.graph.input[0].name for model in (self.reference, self.candidate)]
        image = Layer(node="", op_type="", block="", tensor=inputs[0], counterpart=inputs[1])
        self._by_tensor = {layer.tensor: layer for layer in (image, *self.layers)}
        self._by_counterpart = {layer.counterpart: layer for layer in (image, *self.layers)}
        self.image = image

    def inputs_of(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """What the candidate computes the layers from: other layers, or `image`."""
        found: dict[str, Layer] = {}
        for layer in layers:
            _, stops = segment_of(self._indexes[1], layer.counterpart, self._by_counterpart)
            found |= {name: self._by_counterpart[name] for name in stops}
        return tuple(layer for layer in self._by_counterpart.values() if layer.counterpart in found)

    @property
    def is_shifted(self) -> bool:
        """Whether the candidate has unsigned ReLU outputs; see `graph.correspondence.Layer`."""
        return any(layer.shift for layer in self._by_tensor.values())

    def is_quantized(self, layer: Layer) -> bool:
        """Whether the candidate computes the layer from rounded tensors or weights."""
        nodes, _ = segment_of(self._indexes[1], layer.counterpart, self._by_counterpart)
        return any(node.op_type == "DequantizeLinear" for node in nodes)

    def shapes(self, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        """Shape for one image, without the batch axis, of every layer's result and of the image, by reference name.

        Raises:
            GraphError: A size does not follow from the image's.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.reference)
        graph = model.graph
        dims = graph.input[0].type.tensor_type.shape.dim
        for dim, size in zip(dims, (1, *image_shape), strict=True):
            dim.Clear()
            dim.dim_value = size
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        known = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        for name in self._by_tensor:
            if not known.get(name) or 0 in known[name]:
                raise GraphError(f"the size of tensor {name!r} does not follow from an image of {list(image_shape)}")
        return {name: known[name][1:] for name in self._by_tensor}

    def marked_reference(self, layers: Sequence[Layer]) -> onnx.ModelProto:
        """The reference, which also gives out the results of `layers` as `marked_name(tensor)`."""
        return self._marked(self.reference, [(layer, layer.tensor) for layer in layers], self._types[0], shifted=False)

    def marked_candidate(self, layers: Sequence[Layer]) -> onnx.ModelProto:
        """The candidate, which also gives out its counterparts, under the same names."""
        cuts = [(layer, layer.counterpart) for layer in layers]
        return self._marked(self.candidate, cuts, self._types[1], shifted=True)

    def layers_on_given(self, layers: Sequence[Layer], shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        """The candidate's `layers`, each on its own: computed from what is given, not from one another.

        One input, GIVEN [N, all values] float32, holds what `inputs_of(layers)` lists, flattened, in that order. One
        input only, so that every backend and every TensorRT product takes it as it takes a network.
        """
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, onnx.TensorProto] = {}
        start = 0
        for layer in self.inputs_of(layers):
            shape = shapes[layer.tensor]
            stop = start + math.prod(shape)
            flat = f"{layer.counterpart}.flat"
            bounds = {
                f"{flat}.start": [start],
                f"{flat}.stop": [stop],
                f"{flat}.axis": [1],
                f"{flat}.shape": [0, *shape],
            }
            constants |= {name: numpy_helper.from_array(np.array(v, np.int64), name) for name, v in bounds.items()}
            names = list(bounds)
            nodes.append(helper.make_node("Slice", [GIVEN, *names[:3]], [flat], name=flat))
            wide = f"{flat}.shaped"
            nodes.append(helper.make_node("Reshape", [flat, names[3]], [wide], name=wide))
            more, added = self._to_candidate(layer, wide, _given(layer.counterpart), TensorProto.FLOAT)
            nodes += more
            constants |= added
            start = stop
        taken: set[str] = set()
        for layer in layers:
            segment, _ = segment_of(self._indexes[1], layer.counterpart, self._by_counterpart)
            for node in segment:
                if node.output[0] not in taken:
                    taken.add(node.output[0])
                    nodes.append(_renamed(node, {name: _given(name) for name in self._by_counterpart}, outputs={}))
        marks, outputs = [], []
        for layer in layers:
            more, added = self._to_reference(layer, layer.counterpart, marked_name(layer.tensor), TensorProto.FLOAT)
            marks += more
            constants |= added
            outputs.append(_float_output(layer.tensor, shapes[layer.tensor]))
        given = helper.make_tensor_value_info(GIVEN, TensorProto.FLOAT, ["N", start])
        return self._model(self.candidate, [*nodes, *marks], [given], outputs, constants.values())

    def hybrid(self, from_reference: Collection[str]) -> onnx.ModelProto:
        """The candidate with the layers of these nodes taken from the reference, weights and types included.

        Raises:
            GraphError: A name is not of a shared layer.
        """
        if unknown := sorted(set(from_reference) - {layer.node for layer in self.layers}):
            raise GraphError(f"no layer that both graphs share is called {', '.join(unknown[:4])}")
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, onnx.TensorProto] = {}
        taken: set[str] = set()
        entered: set[str] = set()
        for layer in self.layers:
            if layer.node not in from_reference:
                for node in segment_of(self._indexes[1], layer.counterpart, self._by_counterpart)[0]:
                    if node.output[0] not in taken:
                        taken.add(node.output[0])
                        nodes.append(node)
                continue
            segment, stops = segment_of(self._indexes[0], layer.tensor, self._by_tensor)
            for name in stops:
                if name not in entered:
                    entered.add(name)
                    cut = self._by_tensor[name]
                    more, added = self._to_reference(
                        cut, cut.counterpart, f"{_FROM_REFERENCE}{name}.entering", self._types[0][name]
                    )
                    nodes, constants = [*nodes, *more], constants | added
            more, added = self._reference_nodes(layer, segment, taken)
            nodes, constants = [*nodes, *more], constants | added
        nodes += self._tail(taken, {layer.counterpart for layer in self.layers})
        graph = self.candidate.graph
        return without_unread(self._model(self.candidate, nodes, graph.input, graph.output, constants.values()))

    def _tail(self, taken: set[str], cuts: set[str]) -> list[onnx.NodeProto]:
        """What makes the candidate's outputs out of its last layers."""
        nodes = []
        for value in self.candidate.graph.output:
            if value.name in cuts:
                continue
            for node in segment_of(self._indexes[1], value.name, self._by_counterpart)[0]:
                if node.output[0] not in taken:
                    taken.add(node.output[0])
                    nodes.append(node)
        return nodes

    def _reference_nodes(
        self, layer: Layer, segment: Sequence[onnx.NodeProto], taken: set[str]
    ) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]]:
        """The layer as the reference has it, its result under the candidate's name."""
        index, nodes, constants = self._indexes[0], [], {}
        inside = {name for node in segment for name in node.output}
        for node in segment:
            new = {}
            for name in node.input:
                if index.is_constant(name):
                    new[name] = f"{_FROM_REFERENCE}{name}"
                    constants[new[name]] = numpy_helper.from_array(index.constant(name), new[name])
                elif name in inside and name not in self._by_tensor:
                    new[name] = f"{_FROM_REFERENCE}{name}"
                elif name:
                    new[name] = f"{_FROM_REFERENCE}{name}.entering"
            outputs = {name: f"{_FROM_REFERENCE}{name}" for name in node.output}
            if (first := outputs[node.output[0]]) in taken:
                continue
            taken.add(first)
            nodes.append(_renamed(node, new, outputs=outputs, prefix=_FROM_REFERENCE))
        kind = self._types[0][layer.tensor]
        more, added = self._to_candidate(layer, f"{_FROM_REFERENCE}{layer.tensor}", layer.counterpart, kind)
        return [*nodes, *more], constants | added

    def _marked(
        self, model: onnx.ModelProto, cuts: Sequence[tuple[Layer, str]], types: dict[str, int], *, shifted: bool
    ) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        for layer, name in cuts:
            target = marked_name(layer.tensor)
            if shifted:
                nodes, constants = self._to_reference(layer, name, target, TensorProto.FLOAT)
            else:
                nodes, constants = [_converted(name, types[name], target, TensorProto.FLOAT)], {}
            result.graph.node.extend(nodes)
            result.graph.initializer.extend(constants.values())
            result.graph.output.append(_float_output(layer.tensor, None))
        return onnx.shape_inference.infer_shapes(result)  # ONNX wants a shape for every output

    def _to_reference(
        self, layer: Layer, source: str, target: str, kind: int
    ) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]]:
        """Nodes from a counterpart's value to what it means in the reference, as `kind`."""
        have = self._types[1][layer.counterpart]
        if not layer.shift:
            return [_converted(source, have, target, kind)], {}
        wide, moved, shift = f"{target}.wide", f"{target}.moved", f"{target}.shift"
        nodes = [
            _converted(source, have, wide, TensorProto.FLOAT),
            helper.make_node("Add", [wide, shift], [moved], name=moved),
            helper.make_node("Relu", [moved], [f"{moved}.relu"], name=f"{moved}.relu"),
            _converted(f"{moved}.relu", TensorProto.FLOAT, target, kind),
        ]
        return nodes, {shift: numpy_helper.from_array(np.float32(layer.shift), shift)}

    def _to_candidate(
        self, layer: Layer, source: str, target: str, kind: int
    ) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]]:
        """Nodes from a reference's value, of type `kind`, to what the counterpart would hold."""
        want = self._types[1][layer.counterpart]
        if not layer.shift:
            return [_converted(source, kind, target, want)], {}
        wide, moved, shift = f"{target}.wide", f"{target}.moved", f"{target}.shift"
        nodes = [
            _converted(source, kind, wide, TensorProto.FLOAT),
            helper.make_node("Sub", [wide, shift], [moved], name=moved),
            _converted(moved, TensorProto.FLOAT, target, want),
        ]
        return nodes, {shift: numpy_helper.from_array(np.float32(layer.shift), shift)}

    def _model(
        self,
        like: onnx.ModelProto,
        nodes: Sequence[onnx.NodeProto],
        inputs: Iterable[onnx.ValueInfoProto],
        outputs: Iterable[onnx.ValueInfoProto],
        constants: Iterable[onnx.TensorProto],
    ) -> onnx.ModelProto:
        """A model of `like`'s opset with these nodes, and those of its constants that they read."""
        result = onnx.ModelProto()
        result.CopyFrom(like)
        graph = result.graph
        for field in (graph.node, graph.input, graph.output, graph.value_info):
            del field[:]
        graph.node.extend(nodes)
        graph.input.extend(inputs)
        graph.output.extend(outputs)
        graph.initializer.extend(constants)
        return without_unread(result)


def _given(name: str) -> str:
    return f"given.{name}"


def _float_output(tensor: str, shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
    sizes = None if shape is None else ["N", *shape]
    return helper.make_tensor_value_info(marked_name(tensor), TensorProto.FLOAT, sizes)


def _converted(source: str, have: int, target: str, want: int) -> onnx.NodeProto:
    if have == want:
        return helper.make_node("Identity", [source], [target], name=target)
    return helper.make_node("Cast", [source], [target], name=target, to=want)


def _renamed(
    node: onnx.NodeProto, inputs: dict[str, str], *, outputs: dict[str, str], prefix: str = ""
) -> onnx.NodeProto:
    result = onnx.NodeProto()
    result.CopyFrom(node)
    result.name = f"{prefix}{node.name}"
    for place, name in enumerate(node.input):
        result.input[place] = inputs.get(name, name)
    for place, name in enumerate(node.output):
        result.output[place] = outputs.get(name, name)
    return result


def _of_one_opset(reference: onnx.ModelProto, candidate: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    versions = [_opset(model) for model in (reference, candidate)]
    newest = max(versions)
    try:
        return tuple(
            model if version == newest else version_converter.convert_version(model, newest)
            for model, version in zip((reference, candidate), versions, strict=True)
        )
    except Exception as error:  # the converter raises RuntimeError and types of its own
        raise GraphError(
            f"the two graphs are of opsets {versions[0]} and {versions[1]}, and one can not be converted: {error}",
            remedy="export both with the same opset",
        ) from error


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
