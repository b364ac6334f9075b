from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.head import Head, append_softmax, append_top_k, put_on_head, take_off_head
from resnet_deploy.graph.session import open_session
from tests.reference.small_networks import copy_of, resnet8_onnx


def _images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), dtype=np.float32)


def _run(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    session = open_session(model)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": _images()}), strict=True))


def _with_top(k: int) -> onnx.ModelProto:
    model = resnet8_onnx()
    append_softmax(model)
    append_top_k(model, k)
    return model


def test_softmax_and_the_best_classes_against_numpy():
    logits = _run(resnet8_onnx())["logits"].astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    model = resnet8_onnx()
    append_softmax(model)
    check_model(model, name="softmax")
    # FP32 exponentials and a sum of ten: a few roundoffs
    np.testing.assert_allclose(_run(model)["probabilities"], wanted, rtol=16 * 2.0**-24)
    top = _with_top(3)
    check_model(top, name="top")
    found = _run(top)
    assert found["classes"].dtype == np.int32
    np.testing.assert_array_equal(found["classes"], np.argsort(-logits, axis=1)[:, :3])
    np.testing.assert_allclose(found["scores"], -np.sort(-wanted, axis=1)[:, :3], rtol=16 * 2.0**-24)


def test_a_head_that_is_taken_off_and_put_on_leaves_the_graph_as_it_was():
    for model in (_with_top(3), _with_top(10)):
        before = model.SerializeToString(deterministic=True)
        head = take_off_head(model)
        assert [node.op_type for node in head.nodes] == ["Softmax", "TopK", "Cast"]
        check_model(model, name="body")
        np.testing.assert_array_equal(_run(model)["logits"], _run(resnet8_onnx())["logits"])
        assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["N", 10]
        assert not any(node.op_type in ("Softmax", "TopK") for node in model.graph.node)
        put_on_head(model, head)
        assert model.SerializeToString(deterministic=True) == before


def _probabilities_of_a_cut(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("avgpool", onnx.TensorProto.FLOAT, None))


def _more_behind(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Log", ["probabilities"], ["log"], name="log"))
    model.graph.output[0].name = "log"


@pytest.mark.parametrize("change", [None, _probabilities_of_a_cut, _more_behind])
def test_what_only_looks_like_a_head_stays(change):
    """A graph of logits; one that gives an inner tensor as well; one that computes on the probabilities."""
    model = resnet8_onnx()
    if change is not None:
        append_softmax(model)
        change(model)
    before = copy_of(model)
    assert take_off_head(model) == Head() and model == before
