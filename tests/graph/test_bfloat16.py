from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.bfloat16 import computes_in_bf16, fp32_from_bf16
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.graph.float_io import with_float_io
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.torch_graph import TorchGraph
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)


def _run(model: onnx.ModelProto, outputs: list[str] | None = None) -> list[np.ndarray]:
    return open_session(model).run(outputs, {"images": IMAGES})


def _is_bf16(values: np.ndarray) -> bool:
    return not (values.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("make", [resnet8_onnx, bottleneck_onnx])
def test_no_bf16_is_left_but_between_two_casts(make):
    model = fp32_from_bf16(bf16_from_fp32(make()))
    check_model(model, name="emulated")
    assert not any(t.data_type == TensorProto.BFLOAT16 for t in model.graph.initializer)
    makers = {name: node for node in model.graph.node for name in node.output}
    types = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    halves = [value.name for value in types if value.type.tensor_type.elem_type == TensorProto.BFLOAT16]
    readers = [node for node in model.graph.node for name in node.input if name in halves]
    assert halves and {makers[name].op_type for name in halves} == {node.op_type for node in readers} == {"Cast"}


def test_every_tensor_of_the_run_is_a_bf16_number():
    model = bf16_from_fp32(resnet8_onnx())
    names = [name for node in model.graph.node for name in node.output if name != "logits"]
    runnable = fp32_from_bf16(model)
    for name in names:
        runnable.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    for name, values in zip(names, _run(runnable, names), strict=True):
        assert _is_bf16(values), name
    assert not _is_bf16(IMAGES)  # planted fault: what was not rounded is seen


def test_a_convolution_is_the_rounded_convolution_of_rounded_values():
    """Oracle: PyTorch's own bfloat16 rounding around a convolution in double precision."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((4, 3, 3, 3), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["logits"], pads=[1, 1, 1, 1], name="c")],
        "one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 32, 32])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    got = _run(bf16_from_fp32(model))[0]
    x, w = (torch.from_numpy(a).bfloat16().double() for a in (IMAGES, weight))
    exact = torch.nn.functional.conv2d(x, w, padding=1)
    expected = exact.bfloat16().double().numpy()
    # FP32 sums of 27 terms are exact to 27 * 2^-24 of the terms' magnitudes, so only values that lie so near to the
    # middle of two BF16 numbers may go to the other one: few, and by one step of 2^-7 relative at most.
    different = got != expected
    assert different.mean() < 1e-3
    assert (np.abs(got - expected) <= np.abs(expected) * 2.0**-7 + 27 * 2.0**-24 * 27).all()


def test_bf16_is_close_to_fp32_and_not_equal():
    expected, got = _run(resnet8_onnx())[0], _run(bf16_from_fp32(resnet8_onnx()))[0]
    # 8 layers, weights and outputs each rounded by at most 2^-8: 2 * 8 * 2^-8 in the worst case.
    assert np.abs(got - expected).max() <= 16 * 2.0**-8 * np.abs(expected).max()
    assert not np.array_equal(got, expected)


def test_without_its_roundings_the_run_would_be_another():
    """Planted fault for the comparisons above: the casts taken out."""
    model = bf16_from_fp32(resnet8_onnx())
    honest = _run(model)[0]
    bare = fp32_from_bf16(model)
    for node in bare.graph.node:
        if node.op_type == "Cast":
            node.attribute[0].i = TensorProto.FLOAT
    assert not np.array_equal(_run(bare)[0], honest)


def test_q_dq_with_bf16_scales_runs():
    model = resnet8_onnx()
    int8 = quantize_model(model, make_table(model), float_precision=Precision.BF16)[0]
    check_model(int8, name="int8 in bf16")
    expected = _run(quantize_model(model, make_table(model), float_precision=Precision.FP32)[0])[0]
    got = _run(int8)[0]
    # Scales, floats and dequantised values move by 2^-8 each, 23 roundings one behind another; a value that this
    # sends to the next int8 step moves by a step of 1/127 of its range. A wrong scale type would be off by whole ranges.
    assert np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()) < 0.1


def test_bf16_edges_become_fp32_and_the_input_is_rounded():
    inside = bf16_from_fp32(resnet8_onnx())
    outside = with_float_io(inside, Precision.BF16)
    runnable = fp32_from_bf16(outside)
    check_model(runnable, name="edges")
    edges = (*runnable.graph.input, *runnable.graph.output)
    assert all(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in edges)
    np.testing.assert_array_equal(_run(outside)[0], _run(inside)[0])


def test_a_graph_without_bf16_is_given_back_as_it_is():
    for model in (resnet8_onnx(), fp16_from_fp32(resnet8_onnx())):
        assert not computes_in_bf16(model) and fp32_from_bf16(model) is model
    assert computes_in_bf16(bf16_from_fp32(resnet8_onnx()))


def test_pytorch_runs_the_numbers_of_a_bf16_graph():
    """TorchGraph rounds nothing on its way, so it has the stored weights' share of the error: half of the roundings."""
    model = bf16_from_fp32(resnet8_onnx())
    expected = _run(resnet8_onnx())[0]
    got = TorchGraph(model).run({"images": torch.from_numpy(IMAGES)})[0].numpy()
    assert 0 < np.abs(got - expected).max() <= 8 * 2.0**-8 * np.abs(expected).max()
