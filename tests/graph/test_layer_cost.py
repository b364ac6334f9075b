from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.layer_cost import layer_cost, multiply_adds, tensor_shapes
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


def test_multiply_adds_of_the_graph_are_those_of_the_module() -> None:
    costs = layer_cost(resnet8_onnx())
    assert sum(cost.multiply_adds for cost in costs.values()) == net_cost(find_net("resnet8")).multiply_adds


def test_an_addition_a_pool_and_the_classifier_are_counted_by_hand() -> None:
    costs = layer_cost(bottleneck_onnx())  # 64 px: the stem gives 32 x 32, the pool 16 x 16
    assert costs["maxpool"].num_activations == 64 * (32 * 32 + 16 * 16)
    assert costs["layer1.0.add"].additions == 256 * 16 * 16
    assert costs["layer1.0.add"].num_activations == 2 * 256 * 16 * 16  # the shortcut and the sum
    assert costs["layer1.0.add"].multiply_adds == costs["maxpool"].multiply_adds == 0
    assert costs["fc"].multiply_adds == 2048 * 10 and costs["fc"].num_weights == 2048 * 10 + 10
    assert costs["conv1"].multiply_adds == 64 * 3 * 7 * 7 * 32 * 32


def test_a_dynamic_image_size_names_the_tensor() -> None:
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(GraphError, match="shape of 'conv1'"):
        layer_cost(model)


def test_a_matrix_product_of_two_tensors_sums_over_the_last_axis_of_the_first() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"], name="product")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", [1, 3, 5]), ("b", [1, 5, 7]))]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 7])
    model = helper.make_model(
        helper.make_graph([node], "g", values, [result]), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.checker.check_model(model)
    assert multiply_adds(node, tensor_shapes(model)) == 3 * 7 * 5
