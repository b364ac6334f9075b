from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import BF16_OPSET, bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.types import element_types
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


def test_unknown_operators_are_all_refused_by_name():
    model = resnet8_onnx()
    model.graph.node[1].op_type = "Softmax"
    model.graph.node[3].op_type = "Erf"
    model.graph.node[5].op_type = "Erf"
    erf = model.graph.node[3].name
    with pytest.raises(
        GraphError, match=rf"FP16 pass does not know: Erf \(2, first '{erf}'\), Softmax \(1, first 'relu'\)"
    ):
        fp16_from_fp32(model)


@pytest.mark.parametrize("op_type", ["HardSwish", "Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Elu"])
def test_activations_of_foreign_networks_run_in_fp16(op_type):
    model = resnet8_onnx()
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = op_type
    fp16 = fp16_from_fp32(model)
    check_model(fp16, name="fp16")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    expected, got = (open_session(m).run(None, {"images": images})[0] for m in (model, fp16))
    # 8 layers and 8 activations round weights and results to 2^-11 of their value each.
    assert np.abs(got - expected).max() <= 2 * 16 * 2.0**-11 * np.abs(expected).max()


@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_bf16_has_the_structure_of_fp16_at_the_first_opset_that_has_it(make):
    source = make()
    model = bf16_from_fp32(source)
    check_model(model, name="bf16")
    assert source.opset_import[0].version < model.opset_import[0].version == BF16_OPSET
    assert {t.data_type for t in model.graph.initializer} <= {TensorProto.BFLOAT16, TensorProto.INT64}
    assert [(n.op_type, n.name) for n in model.graph.node] == [
        (n.op_type, n.name) for n in fp16_from_fp32(source).graph.node
    ]
    types = element_types(model)
    inside = {name: types[name] for node in model.graph.node for name in node.output if name != "logits"}
    assert set(inside.values()) == {TensorProto.BFLOAT16} and types["logits"] == TensorProto.FLOAT


def test_opset_21_could_not_hold_a_bf16_convolution():
    """Why the opset is raised: the checker refuses the same graph one opset below."""
    model = bf16_from_fp32(resnet8_onnx())
    model.opset_import[0].version = BF16_OPSET - 1
    with pytest.raises(GraphError, match="Conv"):
        check_model(model, name="bf16")


def test_bf16_weights_are_the_nearest_and_the_same_bytes_each_time():
    model = resnet8_onnx()
    stored = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in bf16_from_fp32(model).graph.initializer}
    for tensor in model.graph.initializer:
        wide = numpy_helper.to_array(tensor)
        if wide.dtype == np.float32:  # 8 significant bits: half a step is at most 2^-8 of the value
            assert (np.abs(stored[tensor.name] - wide) <= np.abs(wide) * 2.0**-8).all()
            nearest = torch.from_numpy(wide.copy()).bfloat16().float().numpy()  # torch rounds on its own
            np.testing.assert_array_equal(stored[tensor.name], nearest)
    first, second = (bf16_from_fp32(resnet8_onnx()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_bf16_holds_what_fp16_refuses():
    model = resnet8_onnx()
    _set(model, "layer2.0.conv1.weight", 7e4)
    assert bf16_from_fp32(model)
    _set(model, "layer2.0.conv1.weight", float(np.finfo(np.float32).max))  # rounds up, to infinity
    with pytest.raises(
        GraphError, match=r"layer2\.0\.conv1\.weight.*reaches 3\.40282e\+38, beyond BF16's 3\.38953e\+38"
    ):
        bf16_from_fp32(model)


def test_bf16_names_itself_where_it_refuses_an_operator():
    model = resnet8_onnx()
    model.graph.node[1].op_type = "Softmax"
    with pytest.raises(GraphError, match="the BF16 pass does not know: Softmax .*'relu'"):
        bf16_from_fp32(model)
