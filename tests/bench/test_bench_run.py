from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.bench.measure.timing import Sampling
from resnet_deploy.bench.run import BenchOptions, BenchTarget, bench, cost_of, read_benchmark
from resnet_deploy.core.artifacts import NetRecord, read_manifest, write_manifest
from resnet_deploy.core.errors import (
    ArtifactError,
    ArtifactMismatchError,
    ConfigError,
    DataError,
    MissingDependencyError,
)
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, find_net
from resnet_deploy.nets.cost import net_cost

_QUICK = Sampling(min_seconds=0.01, min_samples=3, max_seconds=0.1)


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    return write_pooled(tmp_path)


def write_pooled(folder: Path) -> Path:
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
    file = folder / "net.int8.onnx"
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


def test_every_combination_is_a_row_and_says_which(pooled: Path) -> None:
    rows = _bench(pooled, batches=(1, 2), threads=(1, 2), workers=(1, 2), modes=("kernel", "application")).rows
    kernel = {(row.batch, row.threads, row.workers) for row in rows if row.mode == "kernel"}
    assert kernel == {(b, t, w) for b in (1, 2) for t in (1, 2) for w in (1, 2)}
    requests = [row for row in rows if row.mode == "application"]
    assert {(row.batch, row.threads) for row in requests} == {(b, t) for b in (1, 2) for t in (1, 2)}
    assert len(rows) == 12 and all(row.timing is not None for row in rows)
    for row in requests:
        kernel_row = next(
            r for r in rows if (r.batch, r.threads, r.workers, r.mode) == (row.batch, row.threads, 1, "kernel")
        )
        assert row.timing.p50_ms > kernel_row.timing.p50_ms and row.application.pipelined_images_per_second > 0
        assert row.application.images.startswith("16 synthetic JPEG files") and kernel_row.application is None


def test_repeats_open_the_file_anew_and_go_round_the_targets(pooled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_deploy.engine import open as opening

    opened, real = [], opening.open_runner
    monkeypatch.setattr(opening, "open_runner", lambda file, **o: (opened.append(o["backend"]), real(file, **o))[1])
    targets = tuple(BenchTarget(file=pooled, backend=backend) for backend in ("onnxruntime", "onnxruntime-cpu"))
    options = BenchOptions(targets=targets, out=pooled.parent / "b.json", sampling=_QUICK, batches=(1,), repeats=2)
    rows = bench(options).rows
    assert opened == ["onnxruntime", "onnxruntime-cpu"] * 2 and [row.repeat for row in rows] == [0, 0, 1, 1]


def test_each_row_has_its_conditions_its_energy_and_its_verdict(pooled: Path) -> None:
    (row,) = _bench(pooled, batches=(1,)).rows
    assert row.conditions.processors.own_share > 0 and row.conditions.processors.seconds >= 0.01
    assert row.energy.joules_per_image is None and row.energy.reason.startswith("not measured: ")
    assert row.validity.valid == (not row.validity.reasons)


def test_a_row_on_a_busy_machine_is_not_valid_and_neither_is_the_run(pooled: Path, monkeypatch) -> None:
    from resnet_deploy.bench.machine import processors

    ticks = iter(range(0, 10**9, 1000))  # ten seconds of other work between any two looks
    monkeypatch.setattr(processors, "_ticks", lambda numbers: (next(ticks), 0))
    result = _bench(pooled, batches=(1,))
    assert any("other processes took" in reason for reason in result.rows[0].validity.reasons)
    assert not result.is_valid and replace(result, rows=()).is_valid == result.validity.valid


def test_interleaved_files_give_rows_and_a_sentence(pooled: Path) -> None:
    targets = (BenchTarget(file=pooled),) * 2
    out = pooled.parent / "b.json"
    result = bench(BenchOptions(targets=targets, out=out, sampling=_QUICK, batches=(1, 2), interleave=True))
    assert [(row.batch, row.timing.num_samples >= 20 * 4) for row in result.rows] == [(1, True)] * 2 + [(2, True)] * 2
    assert [pair.batch for pair in result.interleaved] == [1, 2]
    pair = result.interleaved[0]
    assert (pair.first, pair.other) == ("onnxruntime:net.int8.onnx (1)", "onnxruntime:net.int8.onnx (2)")
    assert pair.ratio.low <= pair.ratio.ratio <= pair.ratio.high and pair.first in pair.says
    assert read_benchmark(out) == result


def test_a_file_whose_backend_is_not_here_does_not_keep_the_others_from_their_turns(pooled: Path, monkeypatch) -> None:
    from resnet_deploy.engine import open as opening

    real = opening.open_runner

    def some(file: Path, *, backend: str, **options: object):
        if backend == "openvino":
            raise MissingDependencyError("no quantum device")
        return real(file, backend=backend, **options)

    monkeypatch.setattr(opening, "open_runner", some)
    names = ("onnxruntime", "openvino", "onnxruntime-cpu")
    targets = tuple(BenchTarget(file=pooled, backend=name) for name in names)
    options = {"out": pooled.parent / "b.json", "sampling": _QUICK, "batches": (1,), "interleave": True}
    result = bench(BenchOptions(targets=targets, **options))
    assert [row.timing is None for row in result.rows] == [False, False, True] and len(result.interleaved) == 1
    assert result.rows[2].backend == "openvino" and result.rows[2].reason.startswith("not run: ")
    with pytest.raises(MissingDependencyError, match="no quantum device"):
        bench(BenchOptions(targets=targets[:2], **options))


def test_interleaving_a_batch_that_is_not_one_pass_is_refused(pooled: Path) -> None:
    model = onnx.load(pooled)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    fixed = pooled.with_name("fixed.onnx")
    onnx.save(model, fixed)
    targets = (BenchTarget(file=pooled), BenchTarget(file=fixed))
    with pytest.raises(ConfigError, match=r"fixed\.onnx: this file takes a batch of 2 alone, not 1"):
        bench(BenchOptions(targets=targets, out=pooled.parent / "b.json", batches=(1,), interleave=True))


def test_without_preprocessing_there_is_no_request_and_a_reason(pooled: Path) -> None:
    pooled.with_name(pooled.name + ".json").unlink()
    (row,) = _bench(pooled, batches=(1,), modes=("application",)).rows
    assert row.timing is None and "names no preprocessing" in row.reason and row.validity.valid


def test_a_missing_folder_of_images_fails_before_anything_is_timed(pooled: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        _bench(pooled, modes=("application",), images=pooled.parent / "nowhere")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": (), "batches": (0,)}, r"no file.*batches are \[0\]"),
        ({"threads": (-1,)}, r"threads are \[-1\]"),
        ({"workers": (0,)}, r"workers are \[0\]"),
        ({"modes": ("kernel", "fast")}, "modes are kernel, fast"),
        ({"images": Path("photos")}, "application mode, which was not asked for"),
        ({"modes": ("application",), "workers": (2,)}, "workers are for kernel mode"),
        ({"interleave": True}, "two or more files"),
        ({"interleave": True, "targets": (BenchTarget(file=Path("a")),) * 2, "repeats": 2}, "repeats by itself"),
        ({"repeats": 0}, "repeats 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BenchOptions(**{"targets": (BenchTarget(file=Path("a")),), "out": Path("b.json"), **options})


def test_a_network_outside_the_catalogue_has_no_costs(pooled: Path) -> None:
    manifest = read_manifest(pooled)
    assert None not in cost_of(manifest)
    assert cost_of(replace(manifest, net=NetRecord(name="resnet20+resnet56", num_classes=10))) == (None, None)
    headless = NetRecord(name="resnet20", num_classes=10, output=OutputKind.MAPS)
    assert cost_of(replace(manifest, net=headless)) == (None, None)
