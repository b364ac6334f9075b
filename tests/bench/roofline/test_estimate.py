from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from resnet_deploy.bench.roofline.catalogue import load_catalogue
from resnet_deploy.bench.roofline.estimate import (
    EstimateOptions,
    estimate,
    read_estimate,
    write_estimate,
    write_layers,
)
from resnet_deploy.bench.roofline.measured import compare_measured
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.cost import net_cost
from tests.reference.small_networks import make_table, quantize_model, resnet8_onnx

OPTIONS = EstimateOptions(nets=("resnet8",), targets=("l4", "t4"), batches=(1, 8), layers=True)


@pytest.fixture(scope="module")
def result():
    return estimate(OPTIONS)


def test_there_is_a_row_for_each_network_gpu_precision_and_batch(result) -> None:
    keys = [(n.target, n.precision.value, n.fusion, n.batch) for n in result.networks]
    assert len(set(keys)) == len(keys) == 2 * 3 * 2 + 2  # and what TensorRT-RTX makes of INT8 on the L4
    assert sum(layer.target == "l4" and layer.fusion == "ideal" for layer in result.layers) == 2 * (9 + 10 + 10)
    assert [(item.target, item.fusion) for item in result.not_estimated] == [("t4", "tensorrt-rtx")]
    assert {gpu.name for gpu in result.gpus} == {"l4", "t4"} and "l4" in result.sources


def test_the_file_reads_back_and_its_manifest_says_what_was_asked(result, tmp_path: Path) -> None:
    out = tmp_path / "estimate.json"
    write_estimate(result, out, OPTIONS)
    assert read_estimate(out) == result
    manifest = read_manifest(out, kind="estimate")
    assert manifest.options["targets"] == ["l4", "t4"]
    json.loads(out.read_text(), parse_constant=pytest.fail)  # no NaN, no infinity


def test_the_layers_are_written_as_a_table(result, tmp_path: Path) -> None:
    write_layers(result, tmp_path / "layers.csv")
    rows = list(csv.DictReader((tmp_path / "layers.csv").open()))
    assert len(rows) == len(result.layers)
    assert float(rows[0]["latency_us"]) == result.layers[0].latency_us and rows[0]["precision"] == "fp32"


def test_a_file_is_estimated_in_its_own_types_like_the_network_by_name(tmp_path: Path, result) -> None:
    model = resnet8_onnx()
    onnx.save(quantize_model(model, make_table(model), float_precision=Precision.FP16)[0], tmp_path / "net.int8.onnx")
    found = estimate(EstimateOptions(files=(tmp_path / "net.int8.onnx",), targets=("l4",), batches=(8,))).networks[0]
    named = next(n for n in result.networks if (n.target, n.precision, n.batch) == ("l4", "int8", 8))
    assert found.net == "net.int8.onnx" and replace(found, net="resnet8") == named


def test_other_sizes_give_other_rows() -> None:
    rows = estimate(
        EstimateOptions(
            nets=("resnet18",), targets=("t4",), precisions=(Precision.FP16,), batches=(1,), sizes_px=(160, 224)
        )
    ).networks
    assert [(row.size_px, row.multiply_adds) for row in rows] == [(160, 925_798_400), (224, 1_814_073_344)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nets": ("resnet8",)}, "no GPU was named"),
        ({}, "nothing to estimate"),
        ({"nets": ("resnet8",), "targets": ("l4",), "batches": (0,)}, "batches are"),
        ({"nets": ("resnet8",), "targets": ("l4",), "precisions": ()}, "no precision"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EstimateOptions(**options)


def bench_row(**changes):
    """What is read of a row of `bench`."""
    timing = SimpleNamespace(p50_ms=0.1, images_per_second=10_000.0)
    row = {
        "net": "resnet8", "precision": Precision.FP16, "backend": "tensorrt", "device": "NVIDIA L4", "batch": 1, "mode": "kernel",
        "timing": timing, "reason": "", "multiply_adds": net_cost(find_net("resnet8")).multiply_adds,
    }  # fmt: skip
    return SimpleNamespace(**{**row, **changes})


def measured(*rows, targets: tuple[str, ...] = ()):
    return compare_measured(rows, load_catalogue(), targets=targets)


def test_a_measured_row_is_compared_with_the_bound_of_its_gpu(result) -> None:
    (item,) = measured(bench_row())
    own = next(n for n in result.networks if (n.target, n.precision, n.batch) == ("l4", "fp16", 1))
    assert item.target == "l4" and item.reason == ""
    assert item.latency_share == pytest.approx(own.latency_ms / 0.1)
    assert item.throughput_share == pytest.approx(1e4 / own.images_per_second)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": "application"}, "measured in application mode"),
        ({"device": "cpu"}, "ran on a processor"),
        ({"device": "Radeon"}, "no GPU of the catalogue is called 'Radeon'"),
        ({"device": "Orin"}, "may be orin-nano"),
        ({"timing": None, "reason": "not run: no CUDA device"}, "not run: no CUDA device"),
        ({"precision": None}, "precision is not known"),
        ({"multiply_adds": 7}, "7 multiply-adds"),
        ({"net": "mine"}, "unknown net"),
    ],
)
def test_a_row_that_can_not_be_compared_says_why(changes: dict, reason: str) -> None:
    (item,) = measured(bench_row(**changes))
    assert reason in item.reason and item.latency_share is None and item.target == ""


def test_a_target_decides_which_orin_it_was() -> None:
    assert measured(bench_row(device="Orin"), targets=("orin-agx",))[0].target == "orin-agx"


def test_fp32_rows_of_pytorch_count_as_tf32() -> None:
    shares = [measured(bench_row(precision=Precision.FP32, backend=b))[0].latency_share for b in ("torch", "tensorrt")]
    assert shares[0] < shares[1]
