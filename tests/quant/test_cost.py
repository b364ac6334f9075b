from __future__ import annotations

import json

import pytest

from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost
from resnet_deploy.quant.cost import float_costs, layer_cost, read_latencies
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


@pytest.mark.parametrize("unit", ["multiply-adds", "roofline"])
def test_costs_are_shares_and_no_layer_is_cheaper_in_float(unit: str) -> None:
    shares = float_costs(layer_cost(bottleneck_onnx()), unit)
    assert sum(shares.values()) == pytest.approx(1.0) and min(shares.values()) >= 0
    assert shares["layer1.0.add"] > 0  # a float addition moves float values, however few operations it has


def test_measured_times_give_the_cost_and_an_unnamed_node_is_free(tmp_path) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps({"conv1": {"int8_us": 1, "float_us": 4.0}, "fc": {"int8_us": 2, "float_us": 1}}))
    shares = float_costs(layer_cost(resnet8_onnx()), "latency", latencies=read_latencies(path))
    assert shares["conv1"] == 1.0 and shares["fc"] == shares["layer1.0.conv1"] == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds a list"),
        ("{", "not a JSON file"),
        ('{"conv1": {"int8_us": 1}}', "'conv1' has"),
        ('{"conv1": {"int8_us": -1, "float_us": 2}}', "-1"),
        ('{"conv1": {"int8_us": true, "float_us": 2}}', "True"),
    ],
)
def test_a_wrong_file_of_times_is_refused(tmp_path, text: str, message: str) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_latencies(tmp_path / "times.json")


def test_unknown_costs_absent_files_and_times_of_another_network_are_refused(tmp_path) -> None:
    costs = layer_cost(resnet8_onnx())
    with pytest.raises(ConfigError, match="unknown cost 'energy'"):
        float_costs(costs, "energy")
    with pytest.raises(ConfigError, match="energy: no such file"):
        read_latencies("energy")
    with pytest.raises(ConfigError, match="no layer is slower"):
        float_costs(costs, "latency", latencies={"elsewhere": (1.0, 2.0)})


def test_a_dynamic_image_size_names_the_tensor() -> None:
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(GraphError, match="shape of 'conv1'"):
        layer_cost(model)
