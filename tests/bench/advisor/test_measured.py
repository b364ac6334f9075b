from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.bench.advisor.measured import read_folder
from resnet_deploy.bench.machine.conditions import Conditions, GpuTrace, ProcessorUse
from resnet_deploy.bench.machine.energy import Energy
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.machine.validity import Validity
from resnet_deploy.bench.measure.timing import Sampling, summarize
from resnet_deploy.bench.measure.warmup import WarmUp
from resnet_deploy.bench.rows import Benchmark, BenchRow
from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, IMAGENET_PREPROCESS

_SAMPLING = Sampling(min_seconds=0.01, min_samples=3, max_seconds=0.1)
_WARM = WarmUp(passes=3, seconds=0.1, steady=True, rule="by order")


def _row(**changes) -> BenchRow:
    timing = summarize(np.array([0.001, 0.0011, 0.0012] * 20), batch=1, warmup=_WARM, sampling=_SAMPLING)
    values = {
        "net": "resnet50", "precision": Precision.INT8, "backend": "tensorrt", "version": "1", "device": "NVIDIA L4",
        "file": "out/resnet50.int8.engine", "batch": 1, "timing": timing, "reason": "", "parameters": None,
        "multiply_adds": None, "file_mib": 1.0, "build_seconds": None, "gmacs_per_second": None, "weights": "trained",
    }  # fmt: skip
    return BenchRow(**{**values, **changes})


def _write_benchmark(folder: Path, *rows: BenchRow, size_px=None, inputs=None, **changes) -> Path:
    file = folder / "bench.json"
    benchmark = Benchmark(
        file=str(file), rows=rows, environment=capture_environment(), load_1min_after=None, sampling=_SAMPLING,
        threads=(0,), seconds=1.0, created="2026-01-01T00:00:00+00:00", **changes,
    )  # fmt: skip
    file.write_text(json.dumps(to_plain(benchmark)))
    write_manifest(file, kind="benchmark", stage="bench", inputs=inputs or {}, options={"size_px": size_px})
    return file


def _write_verdict(folder: Path, *, output=OutputKind.LOGITS, preprocess=CIFAR_PREPROCESS, scores=(81.0, 80.5)) -> Path:
    file = folder / "net.int8.onnx.verdict.json"
    sides = [
        {
            "precision": precision,
            "accuracy": {"top1_percent": top1, "top1_low": top1 - 1, "top1_high": top1 + 1, "num_images": 1000},
        }
        for precision, top1 in zip(("fp32", "int8"), scores, strict=True)
    ]
    file.write_text(json.dumps({"reference": sides[0], "candidate": sides[1], "data": "cifar10 test"}))
    write_manifest(
        file,
        kind="verdict",
        stage="validate",
        options={"preprocess": (preprocess, preprocess)},
        net=NetRecord(name="resnet20", num_classes=10, output=output),
    )
    return file


def test_rows_become_runs_with_all_that_was_measured(tmp_path: Path) -> None:
    processors = ProcessorUse(seconds=2.0, own_share=0.1, other_share=0.0, steal_share=0.0, tick_seconds=0.01)
    conditions = Conditions(processors=processors, gpu=GpuTrace(name="NVIDIA L4", num_readings=9, power_w_mean=55.0))
    energy = Energy(joules_per_image=0.03, images_per_joule=33.3, source="NVML energy counter")
    _write_benchmark(tmp_path, _row(conditions=conditions, energy=energy))
    (run,) = read_folder(tmp_path).runs
    assert (run.net, run.size_px, run.precision, run.batch, run.device) == ("resnet50", 224, "int8", 1, "NVIDIA L4")
    assert run.p50_ms == pytest.approx(1.1) and (run.joules_per_image, run.watts) == (0.03, 55.0)
    assert run.why_not_valid == "" and run.source.endswith("bench.json") and run.cpu == capture_environment().cpu


def test_power_of_a_processor_is_its_counter_by_the_time(tmp_path: Path) -> None:
    processors = ProcessorUse(seconds=2.0, own_share=0.1, other_share=0.0, steal_share=0.0, tick_seconds=0.01)
    row = _row(device="cpu", backend="openvino", conditions=Conditions(processors=processors, package_joules=30.0))
    _write_benchmark(tmp_path, row, replace(row, conditions=None))
    assert [run.watts for run in read_folder(tmp_path).runs] == [15.0, None]


def test_reasons_against_a_row_or_its_run_are_kept(tmp_path: Path) -> None:
    bad = Validity(valid=False, reasons=("the clocks fell",))
    _write_benchmark(
        tmp_path, _row(validity=bad), _row(batch=8), validity=Validity(valid=False, reasons=("a busy day",))
    )
    assert [run.why_not_valid for run in read_folder(tmp_path).runs] == ["a busy day; the clocks fell", "a busy day"]


def test_what_is_no_time_of_a_pass_is_left_out_and_emulated_rows_are_named(tmp_path: Path) -> None:
    emulated = _row(backend="onnxruntime", device="cpu")
    _write_benchmark(
        tmp_path,
        _row(timing=None, reason="not run: no CUDA device"),
        _row(mode="application"),
        _row(workers=2),
        emulated,
        _row(batch=32, threads=2),
    )
    found = read_folder(tmp_path)
    assert [(run.batch, run.backend) for run in found.runs] == [(32, "tensorrt, 2 threads")]
    assert any("1 rows of FP16 operations" in text for text in found.left_out)


def test_the_size_is_that_of_the_benchmark_else_of_the_files_manifest_else_of_the_net(tmp_path: Path) -> None:
    file = tmp_path / "resnet50.int8.engine"
    file.write_bytes(b"engine")
    pixels = replace(IMAGENET_PREPROCESS, height_px=160, width_px=160)
    write_manifest(file, kind="engine", stage="build", preprocess=pixels)
    row = _row(file=str(file))
    _write_benchmark(tmp_path, row, inputs={"file 0": file})
    assert [run.size_px for run in read_folder(tmp_path).runs] == [160]
    _write_benchmark(tmp_path, row, inputs={"file 0": file}, size_px=(288, 288))
    assert [run.size_px for run in read_folder(tmp_path).runs] == [288]
    _write_benchmark(tmp_path, _row(net="resnet20"))
    assert [run.size_px for run in read_folder(tmp_path).runs] == [32]
    _write_benchmark(tmp_path, row, size_px=(480, 640))  # not square: another thing than what is advised on
    found = read_folder(tmp_path)
    assert found.runs == () and "image size" in found.left_out[0]


def test_both_sides_of_a_verdict_are_accuracies(tmp_path: Path) -> None:
    _write_verdict(tmp_path)
    reference, candidate = read_folder(tmp_path).accuracies
    assert (reference.precision, reference.top1_percent, reference.low, reference.high) == ("fp32", 81.0, 80.0, 82.0)
    assert (candidate.precision, candidate.top1_percent, candidate.num_images) == ("int8", 80.5, 1000)
    assert (candidate.net, candidate.size_px, candidate.num_classes, candidate.data) == (
        "resnet20", 32, 10, "cifar10 test",
    )  # fmt: skip


def test_a_verdict_of_features_has_no_accuracy(tmp_path: Path) -> None:
    _write_verdict(tmp_path, output=OutputKind.FEATURES)
    assert read_folder(tmp_path).accuracies == ()


def test_a_changed_file_is_left_out_with_the_reason_and_the_others_count(tmp_path: Path) -> None:
    _write_benchmark(tmp_path, _row())
    verdict = _write_verdict(tmp_path)
    verdict.write_text(verdict.read_text().replace("81.0", "99.0"))
    found = read_folder(tmp_path)
    assert len(found.runs) == 1 and found.accuracies == () and len(found.files) == 1
    assert "SHA-256" in found.left_out[0] and "verdict.json" in found.left_out[0]


def test_subfolders_count_and_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    _write_benchmark(tmp_path / "a" / "b", _row())
    assert len(read_folder(tmp_path).runs) == 1
    with pytest.raises(ArtifactError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")
