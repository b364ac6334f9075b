"""ONNX Runtime computes Q/DQ graphs as ONNX defines them, whatever its version does by itself."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.graph import session


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
