"""ONNX Runtime computes Q/DQ graphs as ONNX defines them, whatever its version does by itself."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph import session
from resnet_deploy.graph.session import open_session, wrong_passes


def quantize_model() -> onnx.ModelProto:
    """x -> Cast -> QuantizeLinear with an FP16 scale of 1/8 -> int8."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["h"], name="cast", to=TensorProto.FLOAT16),
            helper.make_node("QuantizeLinear", ["h", "scale", "zero"], ["q"], name="quantize"),
        ],
        "quantize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("q", TensorProto.INT8, ["N"])],
        [
            numpy_helper.from_array(np.array(0.125, np.float16), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


VALUES = np.float16(np.linspace(-20, 20, 4001)).astype(np.float32)
# ONNX QuantizeLinear: round half to even, saturate.
EXPECTED = np.clip(np.rint(VALUES / 0.125), -128, 127).astype(np.int8)


@pytest.mark.parametrize("rounds", [True, False])
def test_fp16_quantize_is_exact_with_and_without_the_detour(monkeypatch, rounds):
    if rounds and not session._fp16_quantize_rounds():
        pytest.skip("this ONNX Runtime truncates, so it always takes the detour")
    monkeypatch.setattr(session, "_fp16_quantize_rounds", lambda: rounds)
    opened = session.open_session(quantize_model(), num_threads=1)
    assert np.array_equal(opened.run(None, {"x": VALUES})[0], EXPECTED)


def test_the_detour_leaves_the_model_given_as_it_was(monkeypatch):
    monkeypatch.setattr(session, "_fp16_quantize_rounds", lambda: False)
    model = quantize_model()
    before = model.SerializeToString()
    changed = session.with_exact_quantize(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["Cast", "Cast", "QuantizeLinear"]


def test_a_graph_without_fp16_pairs_is_returned_itself(monkeypatch):
    monkeypatch.setattr(session, "_fp16_quantize_rounds", lambda: False)
    model = quantize_model()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(0.125, np.float32), "scale"))
    assert session.with_exact_quantize(model) is model


def _relu_before_fp8() -> onnx.ModelProto:
    """Relu, Slice and an FP8 pair, which ONNX Runtime 1.31 rewrites into what it can not run or runs wrongly."""
    fp8 = np.array(0, ml_dtypes.float8_e4m3fn)
    operands = {"scale": np.float32(1), "zero": fp8, "starts": np.int64([0]), "ends": np.int64([4])}
    nodes = [
        helper.make_node("Relu", ["images"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("Slice", ["dq", "starts", "ends"], ["part"]),
        helper.make_node("QuantizeLinear", ["part", "scale", "zero"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "scale", "zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fp8",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in operands.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_fp8_values_before_and_behind_a_pair_are_what_the_graph_says():
    images = np.float32([-3, -0.5, 0.3, 17, 500])
    got = open_session(_relu_before_fp8()).run(None, {"images": images})[0]
    assert got.tolist() == [0, 0, 0.3125, 16]  # Relu, then E4M3: 0.3 lies next to 5/16; 17 is a tie, 16 the even one


def test_an_int8_graph_keeps_the_optimisations_that_only_fp8_suffers_from():
    model = _relu_before_fp8()
    assert len(wrong_passes(model)) > 1
    zero = next(tensor for tensor in model.graph.initializer if tensor.name == "zero")
    zero.CopyFrom(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    assert wrong_passes(model) == ["WeightBiasQuantization"]
