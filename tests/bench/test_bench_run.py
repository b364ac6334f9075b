from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.bench.environment import capture_environment
from resnet_deploy.bench.run import BenchOptions, BenchTarget, bench, cost_of, read_benchmark
from resnet_deploy.bench.timing import Sampling
from resnet_deploy.core.artifacts import NetRecord, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError, ArtifactMismatchError, ConfigError, MissingDependencyError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, find_net
from resnet_deploy.nets.cost import net_cost

_QUICK = Sampling(min_seconds=0.01, min_samples=3, max_seconds=0.1)


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    """A tiny classifier that calls itself resnet20."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.ones((3, 10), np.float32), "w")],
    )
    file = tmp_path / "net.int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        net=NetRecord(name="resnet20", num_classes=10),
        preprocess=CIFAR_PREPROCESS,
        precision=Precision.INT8,
        details={"weights": "random, seed 0", "seconds": 1.5},
    )
    return file


def _bench(file: Path, **options):
    return bench(
        BenchOptions(targets=(BenchTarget(file=file),), out=file.parent / "b.json", sampling=_QUICK, **options)
    )


def test_a_row_per_batch_carries_timing_and_costs(pooled: Path) -> None:
    result = _bench(pooled, batches=(1, 4))
    cost = net_cost(find_net("resnet20"))
    assert [row.batch for row in result.rows] == [1, 4]
    for row in result.rows:
        assert (row.net, row.precision, row.backend, row.weights) == (
            "resnet20",
            "int8",
            "onnxruntime",
            "random, seed 0",
        )
        assert (row.parameters, row.multiply_adds, row.build_seconds) == (cost.parameters, cost.multiply_adds, 1.5)
        assert row.file_mib == pytest.approx(pooled.stat().st_size / 2**20)
        assert row.gmacs_per_second == pytest.approx(cost.multiply_adds * row.timing.images_per_second / 1e9)
        assert row.timing.num_samples >= 3 and row.reason == ""
    assert result.environment.num_cpus >= 1 and "numpy" in result.environment.packages


def test_the_file_reads_back_is_strict_json_and_names_what_was_timed(pooled: Path) -> None:
    result = _bench(pooled, batches=(2,))
    out = Path(result.file)
    assert read_benchmark(out) == result
    json.loads(out.read_text(), parse_constant=lambda text: pytest.fail(text))
    manifest = read_manifest(out, kind="benchmark")
    assert manifest.inputs[0].sha256 == read_manifest(pooled).sha256
    out.write_text(out.read_text()[:100])
    with pytest.raises(ArtifactMismatchError, match="cut off"):
        read_benchmark(out)
    write_manifest(out, kind="benchmark", stage="bench")
    with pytest.raises(ArtifactError, match="not a benchmark"):
        read_benchmark(out)


def test_a_backend_that_is_not_here_is_a_row_with_its_reason(pooled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Path, **_: object) -> None:
        raise MissingDependencyError("no quantum device")

    monkeypatch.setattr("resnet_deploy.engine.open.open_runner", refuse)
    rows = _bench(pooled, batches=(1, 8)).rows
    assert [row.timing for row in rows] == [None, None] and [row.batch for row in rows] == [1, 8]
    assert all(row.reason.startswith("not run: ") and "no quantum device" in row.reason for row in rows)


def test_weights_are_found_by_walking_back(pooled: Path) -> None:
    child = pooled.with_name("child.int8.onnx")
    child.write_bytes(pooled.read_bytes())
    write_manifest(child, kind="onnx", stage="quantize", inputs={"onnx": pooled}, parent=read_manifest(pooled))
    assert _bench(child, batches=(1,)).rows[0].weights == "random, seed 0"


def test_a_foreign_file_is_timed_without_costs(pooled: Path) -> None:
    pooled.with_name(pooled.name + ".json").unlink()
    (row,) = _bench(pooled, batches=(1,)).rows
    assert row.timing is not None and row.parameters is None and row.gmacs_per_second is None
    assert (row.net, row.weights) == ("net", "unknown")


def test_a_missing_file_fails_before_anything_is_timed(pooled: Path) -> None:
    targets = (BenchTarget(file=pooled), BenchTarget(file=pooled.with_name("gone.onnx")))
    with pytest.raises(ArtifactError, match=r"gone\.onnx: no such file"):
        bench(BenchOptions(targets=targets, out=pooled.parent / "b.json", sampling=_QUICK))
    assert not (pooled.parent / "b.json").exists()


def test_options_that_make_no_sense_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file.*batches are \[0\]"):
        BenchOptions(targets=(), out=tmp_path / "b.json", batches=(0,))


def test_the_environment_is_read_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    environment = capture_environment()
    assert environment.gpus == () and environment.cpu and environment.packages["resnet-deploy"]


def test_a_network_outside_the_catalogue_has_no_costs(pooled: Path) -> None:
    manifest = read_manifest(pooled)
    assert None not in cost_of(manifest)
    assert cost_of(replace(manifest, net=NetRecord(name="resnet20+resnet56", num_classes=10))) == (None, None)
    headless = NetRecord(name="resnet20", num_classes=10, output=OutputKind.MAPS)
    assert cost_of(replace(manifest, net=headless)) == (None, None)
