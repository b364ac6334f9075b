from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.session import open_session
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


def _set(model: onnx.ModelProto, name: str, value: float) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[1] = value
    tensor.CopyFrom(numpy_helper.from_array(values, name))


@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_all_weights_are_fp16_and_the_outside_stays_fp32(make):
    model = fp16_from_fp32(make())
    check_model(model, name="fp16")
    types = {t.data_type for t in model.graph.initializer}
    assert types <= {TensorProto.FLOAT16, TensorProto.INT64}
    assert [n.op_type for n in model.graph.node].count("Cast") == 2
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.elem_type == TensorProto.FLOAT
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    inside = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    assert set(inside.values()) == {TensorProto.FLOAT16}


def test_fp16_computes_what_fp32_computes():
    fp32 = resnet8_onnx()
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    expected = open_session(fp32).run(None, {"images": images})[0]
    got = open_session(fp16_from_fp32(fp32)).run(None, {"images": images})[0]
    # 8 layers, weights and outputs each rounded by at most 2^-11: 2 * 8 * 2^-11 in the worst case.
    assert np.abs(got - expected).max() <= 16 * 2.0**-11 * np.abs(expected).max()
    assert not np.array_equal(got, expected)


def test_the_original_is_not_changed():
    model = resnet8_onnx()
    before = model.SerializeToString(deterministic=True)
    fp16_from_fp32(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("value", "what"), [(7e4, "70000, beyond FP16's 65504"), (np.nan, "NaN"), (np.inf, "infinity")]
)
def test_a_weight_that_fp16_can_not_hold_is_refused_by_name(value, what):
    model = resnet8_onnx()
    _set(model, "layer2.0.conv1.weight", value)
    with pytest.raises(GraphError, match=rf"layer2\.0\.conv1\.weight.*{what}"):
        fp16_from_fp32(model)


def test_largest_fp16_value_is_accepted():
    model = resnet8_onnx()
    _set(model, "layer2.0.conv1.weight", 65504.0)
    fp16_from_fp32(model)


def test_unknown_operator_is_refused_by_name():
    model = resnet8_onnx()
    model.graph.node[1].op_type = "Softmax"
    with pytest.raises(GraphError, match="'relu' is a Softmax"):
        fp16_from_fp32(model)
