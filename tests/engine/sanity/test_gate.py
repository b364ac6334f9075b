"""The sanity gate on sound runners, which must pass, and on ones with a planted fault, which must not."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.errors import ArtifactError, EngineRunError, GraphError
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.engine.cuda_driver import CudaDriver, Gpu
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.sanity import gate as sanity
from resnet_deploy.engine.sanity.checks import CHECKS
from resnet_deploy.engine.sanity.gate import SanityCheck, SanityReport, check_sanity, sanity_of_file, sanity_record
from tests.conftest import REPOSITORY
from tests.engine.sanity.faulty_runners import FAULTS, FaultyRunner, with_profile

PIXELS = Preprocess(height_px=16, width_px=16, resize_shorter_px=None, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def check_named(report: SanityReport, name: str) -> SanityCheck:
    return next(check for check in report.checks if check.name == name)


def failed_names(report: SanityReport) -> list[str]:
    return [check.name for check in report.checks if check.passed is False]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_sound_network_passes_every_check(save_onnx, backend: str, precision: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    file = save_onnx(precision)
    for seed in range(5):
        report = sanity_of_file(file, backend=backend, preprocess=PIXELS, num_threads=1, seed=seed)
        assert report.passed, report.checks
        assert [check.name for check in report.checks] == ["runs", *CHECKS]
        assert all(check.passed for check in report.checks), report.checks  # nothing skipped
        assert report.precision == precision and report.backend.startswith(backend)


ZOO = sorted(REPOSITORY.glob("models/*/*.safetensors"), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize(
    "file", [ZOO[0], *(pytest.param(file, marks=pytest.mark.slow) for file in ZOO[1:])], ids=lambda file: file.stem
)
def test_the_networks_of_the_zoo_pass(file: Path) -> None:
    report = sanity_of_file(file, num_threads=1)
    assert report.passed and None not in [check.passed for check in report.checks], report.checks


def test_a_checkpoint_is_held_to_what_its_backend_computes_in() -> None:
    report = sanity_of_file(ZOO[0], backend="torch-fp16", num_threads=1, budget_s=1e-9)
    assert (report.backend, report.precision) == ("torch-fp16", Precision.FP16) and report.passed


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_the_check_that_is_meant_for_it(save_onnx, name: str) -> None:
    fault, check, says = FAULTS[name]
    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        faulty = FaultyRunner(sound, fault, with_profile(sound.info, 1, 4, 16))
        report = check_sanity(faulty, preprocess=PIXELS, precision=Precision.FP32)
    assert not report.passed
    found = check_named(report, check)
    assert found.passed is False, report.checks
    assert re.search(says, found.where), found.where


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"odd rows differ"}))
def test_the_wider_limits_of_fewer_bits_still_find_it(save_onnx, precision: str, name: str) -> None:
    """All but rows that are off by a fifth, which INT8 rounding could be on a network of eight channels."""
    fault, check, _ = FAULTS[name]
    with open_runner(save_onnx(precision), num_threads=1) as sound:
        faulty = FaultyRunner(sound, fault, with_profile(sound.info, 1, 4, 16))
        report = check_sanity(faulty, preprocess=PIXELS, precision=Precision(precision))
    assert check in failed_names(report), report.checks


def test_every_corner_of_every_profile_and_both_sides_of_it_are_run(save_onnx) -> None:
    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        watched = FaultyRunner(sound, lambda _r, _i, outputs: outputs, with_profile(sound.info, 4, 8, 16))
        report = check_sanity(watched, preprocess=PIXELS, precision=Precision.FP32)
    assert report.passed, report.checks
    assert {1, 3, 4, 8, 15, 16, 17} <= set(watched.batches) and max(watched.batches) == 17
    assert watched.batches[0] == 4  # the reference is one whole pass of the profile


@pytest.mark.parametrize("batch", [1, 4])
def test_a_network_of_a_fixed_batch_is_run_below_and_above_it(save_onnx, batch: int) -> None:
    report = sanity_of_file(save_onnx("fp32", batch=batch), preprocess=PIXELS, num_threads=1)
    assert report.passed and report.batches["16x16"][-1] == batch + 1


def test_a_network_that_can_not_run_a_legal_shape_fails_with_the_runners_words(save_onnx) -> None:
    def breaks(_runner, images: np.ndarray, outputs):
        if len(images) == 8:
            raise EngineRunError("net: the library gave up at 8")
        return outputs

    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        report = check_sanity(FaultyRunner(sound, breaks), preprocess=PIXELS, precision=Precision.FP32)
        assert "the library gave up at 8" in check_named(report, "batch sizes").where and not report.passed
        always = FaultyRunner(sound, lambda *_: (_ for _ in ()).throw(EngineRunError("net: no memory")))
        report = check_sanity(always, preprocess=PIXELS, precision=Precision.FP32)
    assert [(check.name, check.passed, check.where) for check in report.checks] == [("runs", False, "net: no memory")]


def test_an_output_without_a_row_for_each_image_fails(save_onnx) -> None:
    def short(_runner, images: np.ndarray, outputs):
        return {name: rows[:1] for name, rows in outputs.items()}

    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        report = check_sanity(FaultyRunner(sound, short), preprocess=PIXELS, precision=Precision.FP32)
    assert "output logits is [1, 10] for" in check_named(report, "batch sizes").where


def test_what_there_is_no_time_for_is_skipped_and_said(save_onnx) -> None:
    report = sanity_of_file(save_onnx("fp32"), preprocess=PIXELS, num_threads=1, budget_s=1e-9)
    skipped = [check for check in report.checks if check.passed is None]
    assert {"batch sizes", "stale rows"} <= {check.name for check in skipped}
    assert all("the time given is used up" in check.reason for check in skipped)


def test_answers_too_near_to_rounding_are_not_told_apart(save_onnx) -> None:
    """Outputs of 100 plus a thousandth of themselves: 1e-5 apart by share, less than FP16 can tell."""

    def flat(_runner, _images, outputs):
        return {name: 100 + rows / 20 for name, rows in outputs.items()}

    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        report = check_sanity(FaultyRunner(sound, flat), preprocess=PIXELS, precision=Precision.FP16)
    found = check_named(report, "batch sizes")
    assert found.passed is None and "too near to rounding" in found.reason


def test_a_report_without_any_check_done_has_not_passed() -> None:
    base = {"file": "x", "backend": "b", "version": "1", "device": "cpu", "precision": Precision.FP32, "seed": 0}
    rest = {"batches": {}, "images": (), "num_images": 0, "seconds": 0.0}
    skipped, done = SanityCheck(name="a", size="1x1", passed=None), SanityCheck(name="a", size="1x1", passed=True)
    assert not SanityReport(**base, **rest, checks=(skipped,)).passed
    assert SanityReport(**base, **rest, checks=(skipped, done)).passed
    assert not SanityReport(**base, **rest, checks=(done, dataclasses.replace(done, passed=False))).passed


def two_heads(*, top_k: bool, dtype: int = TensorProto.FLOAT, channels_last: bool = False) -> onnx.ModelProto:
    """Feature maps, and logits or the values and indices of the best three classes; height and width are free."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 0.3, (8, 3, 3, 3)), "fc": rng.normal(0, 1, (8, 10))}
    nodes, x = [], "images"
    if dtype == TensorProto.UINT8:
        nodes += [
            helper.make_node("Cast", [x], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["f", "c"], ["g"]),
        ]
        weights["c"], x = np.float32(64), "g"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [x], ["nchw"], perm=[0, 3, 1, 2]))
        x = "nchw"
    nodes += [
        helper.make_node("Conv", [x, "w"], ["maps"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["maps"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["logits"]),
    ]
    outputs = [("maps", TensorProto.FLOAT, ["N", 8, "h", "w"]), ("logits", TensorProto.FLOAT, ["N", 10])]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    if top_k:
        nodes.append(helper.make_node("TopK", ["logits", "k"], ["values", "indices"]))
        tensors.append(onnx.numpy_helper.from_array(np.int64([3]), "k"))
        outputs[1:] = [("values", TensorProto.FLOAT, ["N", 3]), ("indices", TensorProto.INT64, ["N", 3])]
    shape = ["N", "H", "W", 3] if channels_last else ["N", 3, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info(*output) for output in outputs],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    "form", [{}, {"dtype": TensorProto.UINT8}, {"dtype": TensorProto.UINT8, "channels_last": True}]
)
@pytest.mark.parametrize("top_k", [False, True], ids=["maps and logits", "maps and top-k"])
def test_several_outputs_of_any_kind_and_images_of_any_size_are_checked(
    tmp_path: Path, form: dict, top_k: bool
) -> None:
    onnx.save(two_heads(top_k=top_k, **form), file := tmp_path / "two.onnx")
    report = sanity_of_file(file, preprocess=PIXELS, num_threads=1)
    assert report.passed and None not in [check.passed for check in report.checks], report.checks
    assert list(report.batches) == ["16x16", "20x24"]


@pytest.mark.parametrize("output", ["maps", "values", "indices"])
def test_a_fault_in_one_of_several_outputs_is_found_and_named(tmp_path: Path, output: str) -> None:
    def swap(_runner, images: np.ndarray, outputs):
        return {n: rows[::-1] if n == output and len(images) == 7 else rows for n, rows in outputs.items()}

    onnx.save(two_heads(top_k=True), file := tmp_path / "two.onnx")
    with open_runner(file, num_threads=1) as sound:
        report = check_sanity(FaultyRunner(sound, swap), preprocess=PIXELS, precision=Precision.FP32)
    found = check_named(report, "batch sizes")
    assert found.passed is False and f"(output {output})" in found.where and found.where.startswith("batch 7")


def test_a_network_of_two_inputs_is_refused(save_onnx) -> None:
    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        info = dataclasses.replace(sound.info, inputs=sound.info.inputs * 2)
        with pytest.raises(GraphError, match=r"takes images float32 .*, images float32 .* needs one batch of images"):
            check_sanity(FaultyRunner(sound, None, info), preprocess=None, precision=Precision.FP32)


def test_without_a_preprocessing_the_report_says_what_was_assumed(save_onnx) -> None:
    report = sanity_of_file(save_onnx("fp32"), num_threads=1)
    assert report.notes == ("the preprocessing is not known: images are (pixel / 255 - 0.5) / 0.25",)
    assert sanity_of_file(save_onnx("fp32"), preprocess=PIXELS, num_threads=1).notes == ()


def test_tf32_is_held_to_its_own_limit(save_onnx) -> None:
    with open_runner(save_onnx("fp32"), num_threads=1) as sound:
        exact = check_sanity(sound, preprocess=PIXELS, precision=Precision.FP32)
        tf32 = check_sanity(sound, preprocess=PIXELS, precision=Precision.FP32, tf32=True)
    # 32 units of 2^-24 for sums of 2^12 terms; 64 of 2^-11
    assert check_named(exact, "batch sizes").limit == 2**-13 and check_named(tf32, "batch sizes").limit == 2**-5


def test_the_record_of_a_manifest_is_plain_and_says_why_nothing_ran(save_onnx, tmp_path: Path, monkeypatch) -> None:
    driver = CudaDriver(version=None, gpus=(), reason="no CUDA device: none in this test")
    monkeypatch.setattr(sanity, "query_cuda_driver", lambda: driver)
    record = sanity_record(tmp_path / "net.engine")
    assert record == {"state": "not run", "reason": "no CUDA device: none in this test"}
    file = save_onnx("fp32", manifest=True)
    record = sanity_record(file)
    assert record["state"] == "passed" and {check["name"] for check in record["checks"]} == {"runs", *CHECKS}
    write_manifest(file, kind="onnx", stage="export", details={"sanity": record})  # JSON or an error
    monkeypatch.setattr(sanity, "sanity_of_file", _raise(EngineRunError("x.engine can not be loaded here")))
    assert "can not be loaded here" in sanity_record(file)["reason"]
    monkeypatch.setattr(sanity, "sanity_of_file", _raise(ArtifactError("x.engine is not what was built")))
    with pytest.raises(ArtifactError):  # a damaged file is no matter of hardware
        sanity_record(file)


def test_an_engine_of_the_gpu_here_that_does_not_run_has_failed(tmp_path: Path, monkeypatch) -> None:
    gpu = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_bytes=1 << 34)
    monkeypatch.setattr(sanity, "query_cuda_driver", lambda: CudaDriver(version="13.0", gpus=(gpu,), reason=""))
    monkeypatch.setattr(sanity, "sanity_of_file", _raise(EngineRunError("it can not be loaded")))
    file = tmp_path / "net.engine"
    file.write_bytes(b"vtrt")
    for targets, state in ((["sm86", "sm89"], "failed"), (["sm86"], "not run")):
        write_manifest(file, kind="engine", stage="build", details={"targets": targets})
        record = sanity_record(file)
        assert record == {"state": state, "reason": "it could not be run here: it can not be loaded"}


def _raise(error: Exception):
    def raising(*_: object, **__: object) -> None:
        raise error

    return raising


def test_one_report_is_like_the_next(save_onnx) -> None:
    first, second = (sanity_of_file(save_onnx("fp32"), preprocess=PIXELS, num_threads=1, seed=3) for _ in range(2))
    assert first.checks == second.checks and not math.isnan(first.seconds)
