"""Every file that export and quantize write must build into an engine; TensorRT-RTX does that without a GPU."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import pytest

from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.export.onnx_export import onnx_from_torch
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import with_float_io
from resnet_deploy.graph.session import open_session
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")


@lru_cache
def _resnet20() -> onnx.ModelProto:
    spec = find_net("resnet20")
    return onnx_from_torch(fresh_net(spec), spec.preprocess)


@lru_cache
def _resnet50() -> onnx.ModelProto:
    spec = find_net("resnet50")
    return onnx_from_torch(fresh_net(spec), spec.preprocess)


def _in(precision: str, model: onnx.ModelProto) -> onnx.ModelProto:
    if precision == "fp32":
        return model
    if precision == "fp16":
        return fp16_from_fp32(model)
    if precision == "bf16":
        return bf16_from_fp32(model)
    kind, rest = map(Precision, precision.split("+"))
    return quantize_model(model, make_table(model), precision=kind, float_precision=rest)[0]


def _build(model: onnx.ModelProto, target: str = "SM86") -> tuple[int | None, list[str]]:
    """Size of the engine in bytes, None where the product refuses; and its errors."""
    said: list[str] = []

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity, message) -> None:
            if severity <= trt.ILogger.ERROR:
                said.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        return None, said + [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    profile = builder.create_optimization_profile()
    shape = tuple(network.get_input(0).shape)[1:]
    profile.set_shape("images", (1, *shape), (4, *shape), (8, *shape))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    return (None if engine is None else engine.nbytes), said


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8+fp16", "int8+fp32", "int8+bf16"])
@pytest.mark.parametrize(
    "make", [resnet8_onnx, bottleneck_onnx, _resnet20, pytest.param(_resnet50, marks=pytest.mark.slow)]
)
def test_checker_onnx_runtime_and_tensorrt_rtx_accept(make, precision):
    model = _in(precision, make())
    check_model(model, name="model")
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    logits = open_session(model).run(None, {"images": np.zeros((2, *shape), np.float32)})[0]
    assert logits.dtype == np.float32 and np.isfinite(logits).all()
    size, said = _build(model)
    assert size is not None and not said, said


def test_what_tensorrt_refuses_is_seen():
    """Planted fault: a zero point that is not zero."""
    model = _in("int8+fp32", resnet8_onnx())
    zero_point = next(t for t in model.graph.initializer if t.name == "zero_point")
    zero_point.CopyFrom(onnx.numpy_helper.from_array(np.array(3, dtype=np.int8), "zero_point"))
    size, said = _build(model)
    assert size is None and said


@pytest.mark.parametrize("rest", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("target", ["SM89", "SM120"])
@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_fp8_builds_where_the_gpu_has_it(make, target, rest):
    size, said = _build(_in(f"fp8+{rest}", make()), target)
    assert size is not None and not said, said


@pytest.mark.parametrize(("precision", "target", "type_name"), [("fp8+fp16", "SM86", "fp8"), ("bf16", "SM75", "b16")])
def test_a_gpu_without_the_type_is_refused_in_the_words_that_the_remedy_looks_for(precision, target, type_name):
    size, said = _build(_in(precision, resnet8_onnx()), target)
    assert size is None and any(f"datatypes: {type_name}" in text for text in said), said


@pytest.mark.parametrize("target", ["SM80", "SM86", "SM89", "SM120"])
def test_bf16_builds_from_ampere_on(target):
    size, said = _build(_in("bf16", resnet8_onnx()), target)
    assert size is not None and not said, said


@pytest.mark.parametrize("io", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8+fp16"])
def test_other_inputs_and_outputs_build(precision, io):
    size, said = _build(with_float_io(_in(precision, resnet8_onnx()), io))
    assert size is not None and not said, said


@pytest.mark.parametrize("rest", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("mode", ["free", "first", "all"])
@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_unsigned_relu_outputs_build(make, mode, rest):
    model = make()
    options = {"float_precision": Precision(rest), "unsigned_relu": UnsignedRelu(mode)}
    size, said = _build(quantize_model(model, make_table(model), **options)[0])
    assert size is not None and not said, said


@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_unsigned_relu_outputs_build_for_turing_which_has_no_fp32_classifier(make):
    model = make()
    options = {"float_precision": Precision.FP16, "unsigned_relu": UnsignedRelu.ALL}
    size, said = _build(quantize_model(model, make_table(model), **options)[0], "SM75")
    assert size is not None and not said, said
