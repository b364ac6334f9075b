from __future__ import annotations

import json

import pytest

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.graph.layer_cost import layer_cost
from resnet_deploy.quant.cost import float_costs, read_latencies
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


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
