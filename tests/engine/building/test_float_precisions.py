"""BF16 and FP8 files from the graph to the engine and to ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from resnet_deploy.core.errors import EngineBuildError
from resnet_deploy.core.specs import Precision
from resnet_deploy.engine.building.build import BuildOptions, build_engine
from resnet_deploy.engine.contract import logits_of
from resnet_deploy.engine.onnx_file import onnx_precision
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.products import PRODUCTS
from resnet_deploy.engine.targets import usual_targets
from resnet_deploy.graph.bfloat16 import BF16_NOTE
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import with_float_io


def _fp8_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same Q/DQ graph with E4M3 in the place of int8."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            values = numpy_helper.to_array(tensor).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


@pytest.fixture
def save(save_onnx: Callable[..., Path]) -> Callable[[str], Path]:
    """save(precision) -> a small classifier in fp32, fp16, bf16, int8 or fp8."""

    def saved(precision: str) -> Path:
        made_from = {"bf16": "fp32", "fp8": "int8"}.get(precision, precision)
        file = save_onnx(made_from, name=f"small.{precision}.onnx")
        if precision in ("bf16", "fp8"):
            onnx.save({"bf16": bf16_from_fp32, "fp8": _fp8_of}[precision](onnx.load(file)), file)
        return file

    return saved


@pytest.mark.parametrize("precision", list(Precision))
def test_a_graph_says_its_precision(save, precision):
    assert onnx_precision(onnx.load(save(precision.value))) is precision


def test_fp8_without_targets_is_built_for_gpus_that_have_it(save, rtx):
    built = build_engine(BuildOptions(onnx=save("fp8")))
    assert built.precision is Precision.FP8 and built.targets == ("sm89", "sm120", "sm121")
    assert build_engine(BuildOptions(onnx=save("fp8"))).skipped
    assert build_engine(BuildOptions(onnx=save("bf16"))).targets == ("sm80", "sm86", "sm89", "sm120", "sm121")


def test_only_fp8_ahead_of_time_needs_a_choice(rtx):
    assert usual_targets(PRODUCTS["tensorrt-rtx"], rtx, Precision.INT8) == ()
    assert usual_targets(PRODUCTS["tensorrt"], rtx, Precision.FP8) == ()


@pytest.mark.parametrize(
    ("precision", "target", "remedy"), [("fp8", "sm86", "FP8 needs sm89 or newer"), ("bf16", "sm75", "BF16 needs sm80")]
)
def test_a_gpu_without_the_type_is_refused_with_the_way_out(save, rtx, precision, target, remedy):
    with pytest.raises(EngineBuildError, match=f"Cannot compile for target.*{target}") as caught:
        build_engine(BuildOptions(onnx=save(precision), targets=(target,)))
    assert remedy in caught.value.remedy


def test_bf16_runs_in_onnx_runtime_and_says_how(save, images):
    with open_runner(save("bf16"), trust=True) as runner, open_runner(save("fp32"), trust=True) as reference:
        assert (runner.info.note, reference.info.note) == (BF16_NOTE, "")
        got, expected = logits_of(runner, images), logits_of(reference, images)
    # Two layers, each with a rounded weight, input and output: 6 * 2^-8 in the worst case.
    assert 0 < np.abs(got - expected).max() <= 6 * 2.0**-8 * np.abs(expected).max()


@pytest.mark.parametrize(("io", "dtype"), [(Precision.FP16, "float16"), (Precision.BF16, "float32")])
def test_images_are_cast_to_what_the_network_takes(save, images, io, dtype):
    file = save("fp32")
    onnx.save(with_float_io(fp16_from_fp32(onnx.load(file)), io), file)
    with open_runner(file, trust=True) as runner:
        assert runner.info.inputs[0].dtype == dtype  # what runs for BF16 takes FP32 and rounds it
        logits = logits_of(runner, images)
    assert logits.dtype == np.float32 and np.isfinite(logits).all() and logits.std() > 0
