from __future__ import annotations

import pytest
from onnx import TensorProto

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.types import cast_target, element_types
from tests.reference.small_networks import resnet8_onnx


def test_every_tensor_has_its_type():
    model = fp16_from_fp32(resnet8_onnx())
    types = element_types(model)
    names = {name for node in model.graph.node for name in (*node.input, *node.output) if name}
    assert names <= set(types)
    assert types["images"] == types["logits"] == TensorProto.FLOAT
    assert types["conv1"] == types["conv1.weight"] == TensorProto.FLOAT16
    cast = next(node for node in model.graph.node if node.op_type == "Cast")
    assert cast_target(cast) == types[cast.output[0]] == TensorProto.FLOAT16


def test_a_graph_that_does_not_fit_together_is_refused():
    model = resnet8_onnx()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
    weight.dims[1] += 1  # one more input than the pool gives
    with pytest.raises(GraphError, match=r"does not fit together.*fc"):
        element_types(model)
