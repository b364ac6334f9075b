from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import IO_TYPES, with_float_io
from resnet_deploy.graph.session import open_session
from tests.reference.small_networks import make_table, quantize_model, resnet8_onnx

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)


def _in(precision: Precision):
    model = resnet8_onnx()
    if precision is Precision.INT8:
        return quantize_model(model, make_table(model), float_precision=Precision.FP16)[0]
    return {Precision.FP32: lambda m: m, Precision.FP16: fp16_from_fp32, Precision.BF16: bf16_from_fp32}[precision](
        model
    )


def _num_casts(model) -> int:
    return [node.op_type for node in model.graph.node].count("Cast")


@pytest.mark.parametrize("io", list(IO_TYPES))
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.BF16])
def test_the_edges_have_the_type_and_one_cast_where_it_is_another_than_inside(precision, io):
    model = with_float_io(_in(precision), io)
    check_model(model, name="io")
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.elem_type == IO_TYPES[io]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("images", "logits")
    assert _num_casts(model) == (0 if io is precision else 2)


def test_a_quantised_input_is_cast_back_for_its_scale():
    model = with_float_io(_in(Precision.INT8), Precision.FP16)
    check_model(model, name="io")
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert quantize.input[0] == "images.io" and model.graph.node[0].output[0] == "images.io"
    assert model.graph.node[0].attribute[0].i == TensorProto.FLOAT
    # FP16 images are values of FP32, so on them the two files compute the same; the logits were FP16 before the cast.
    images = IMAGES.astype(np.float16)
    expected = open_session(_in(Precision.INT8)).run(None, {"images": images.astype(np.float32)})[0]
    got = open_session(model).run(None, {"images": images})[0]
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, expected.astype(np.float16))  # ONNX Runtime leaves a cast at the exit away


def test_fp16_edges_compute_what_fp32_edges_compute():
    images = IMAGES.astype(np.float16)
    expected = open_session(_in(Precision.FP16)).run(None, {"images": images.astype(np.float32)})[0]
    got = open_session(with_float_io(_in(Precision.FP16), Precision.FP16)).run(None, {"images": images})[0]
    np.testing.assert_array_equal(got, expected.astype(np.float16))  # ONNX Runtime leaves a cast at the exit away


def test_the_same_type_changes_nothing_and_the_way_back_is_found():
    model = _in(Precision.FP16)
    assert with_float_io(model, Precision.FP32).graph.node == model.graph.node
    back = with_float_io(with_float_io(model, Precision.FP16), Precision.FP32)
    assert _num_casts(back) == 2
    expected, got = (open_session(m).run(None, {"images": IMAGES})[0] for m in (model, back))
    np.testing.assert_array_equal(got, expected)


def test_the_original_is_not_changed():
    model = _in(Precision.FP16)
    before = model.SerializeToString(deterministic=True)
    with_float_io(model, Precision.FP16)
    assert model.SerializeToString(deterministic=True) == before


def test_int8_is_no_type_for_images():
    with pytest.raises(GraphError, match="can not be int8"):
        with_float_io(resnet8_onnx(), Precision.INT8)


def test_an_output_that_is_read_inside_is_refused_by_name():
    model = resnet8_onnx()
    inner = next(node for node in model.graph.node if node.op_type == "Relu").output[0]
    model.graph.output.append(type(model.graph.output[0])())
    model.graph.output[1].CopyFrom(model.graph.output[0])
    model.graph.output[1].name = inner
    model.graph.output[1].type.tensor_type.ClearField("shape")
    with pytest.raises(GraphError, match=f"'{inner}' is also read by"):
        with_float_io(model, Precision.FP16)
