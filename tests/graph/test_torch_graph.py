"""ONNX graphs in PyTorch; the oracle is ONNX Runtime on the same graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.torch_ops import fake_quantize

_RNG = np.random.default_rng(0)


def _array(*shape):
    return _RNG.standard_normal(shape).astype(np.float32)


def _ints(*values):
    return np.array(values, dtype=np.int64)


def _model(op, constants=(), *, inputs=("x",), shape=(2, 4, 6, 5), **attributes):
    names = [*inputs, *(f"c{i}" if value is not None else "" for i, value in enumerate(constants))]
    node = helper.make_node(op, names, ["y"], name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, f"c{i}") for i, value in enumerate(constants) if value is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


CASES = {
    "Add": _model("Add", [_array(1, 4, 1, 1)]),
    "AveragePool": _model("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 0]),
    "BatchNormalization": _model("BatchNormalization", [_array(4), _array(4), _array(4), np.abs(_array(4)) + 0.1]),
    "Clip": _model("Clip", [np.float32(-0.5), np.float32(0.7)]),
    "Clip above": _model("Clip", [None, np.float32(0.7)]),
    "Concat": _model("Concat", [_array(2, 3, 6, 5)], axis=1),
    "Conv": _model("Conv", [_array(6, 4, 3, 3), _array(6)], strides=[2, 1], pads=[1, 1, 1, 1]),
    "Conv with groups": _model("Conv", [_array(6, 2, 3, 3)], group=2, dilations=[2, 1], pads=[0, 1, 2, 1]),
    "Div": _model("Div", [_array(1, 4, 1, 1) + 3]),
    "Exp": _model("Exp"),
    "Flatten": _model("Flatten", axis=2),
    "Gemm": _model("Gemm", [_array(3, 4), _array(3)], shape=(2, 4), transB=1, alpha=0.5),
    "GlobalAveragePool": _model("GlobalAveragePool"),
    "Identity": _model("Identity"),
    "LogSoftmax": _model("LogSoftmax", axis=1),
    "MatMul": _model("MatMul", [_array(4, 3)], shape=(2, 4)),
    "MaxPool": _model("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool, Caffe's": _model("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "Mul": _model("Mul", [_array(1, 4, 1, 1)]),
    "Pad": _model("Pad", [_ints(0, 1, 2, 0, 0, 3, 0, 1), np.float32(1.5)]),
    "Pad along axes": _model("Pad", [_ints(1, 2), None, _ints(1)]),
    "ReduceMax": _model("ReduceMax", [_ints(1)], keepdims=1),
    "ReduceMean": _model("ReduceMean", [_ints(2, 3)], keepdims=0),
    "Relu": _model("Relu"),
    "Reshape": _model("Reshape", [_ints(0, -1, 5)]),
    "Slice": _model("Slice", [_ints(0, 0), _ints(6, 5), _ints(2, 3), _ints(2, 2)]),
    "Softmax": _model("Softmax", axis=1),
    "Sub": _model("Sub", [_array(1, 4, 1, 1)]),
    "Sum": _model("Sum", [_array(2, 4, 6, 5), _array(2, 4, 6, 5)]),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name):
    model = CASES[name]
    x = _array(*(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim))
    (wanted,) = open_session(model, num_threads=1).run(None, {"x": x})
    (got,) = TorchGraph(model).run({"x": torch.from_numpy(x)})
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-5)  # sums of up to 60 float32 terms


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pair_rounds_half_to_even_and_clips(axis):
    scales = np.array([0.5, 0.25, 1.0], np.float32)
    zero = np.zeros(3, np.int8)
    shape = (3, 4) if axis == 0 else (4, 3)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
        ],
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(scales, "s"), numpy_helper.from_array(zero, "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    x = np.array([0.25, 0.75, -200, 200, 0.125, 0.375, -0.5, 1.5, 2.5, -1.5, 31.9, 0], np.float32).reshape(shape)
    (wanted,) = open_session(model, num_threads=1).run(None, {"x": x})
    np.testing.assert_array_equal(TorchGraph(model).run({"x": torch.from_numpy(x)})[0].numpy(), wanted)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return read_onnx(export_onnx(ExportOptions(net="resnet8", out=tmp_path_factory.mktemp("n") / "n.fp32.onnx")).file)


def test_a_network_can_be_cut_anywhere(resnet):
    graph, x = TorchGraph(resnet), torch.from_numpy(_array(2, 3, 32, 32))
    middle = resnet.graph.node[len(resnet.graph.node) // 2].output[0]
    whole, inner = graph.run({"images": x}, ["logits", middle])
    (wanted,) = open_session(resnet, num_threads=1).run(None, {"images": x.numpy()})
    np.testing.assert_allclose(whole.numpy(), wanted, atol=1e-4 * np.abs(wanted).max())
    if len([node for node in resnet.graph.node if middle in node.input]) == 1:
        torch.testing.assert_close(graph.run({middle: inner})[0], whole)
    features = resnet.graph.node[-1].input[0]
    (pooled,) = graph.run({"images": x}, [features])
    torch.testing.assert_close(graph.run({features: pooled})[0], whole)


def test_a_changed_tensor_is_what_its_readers_see(resnet):
    graph, x = TorchGraph(resnet), torch.from_numpy(_array(1, 3, 32, 32))
    features = resnet.graph.node[-1].input[0]
    (changed,) = graph.run({"images": x}, change={features: torch.zeros_like})
    bias = graph.constants[resnet.graph.node[-1].input[2]]
    torch.testing.assert_close(changed[0], bias)


def test_gradients_reach_the_weights(resnet):
    graph, x = TorchGraph(resnet), torch.from_numpy(_array(1, 3, 32, 32))
    name = resnet.graph.node[0].input[1]
    weight = graph.constants[name].requires_grad_(True)
    graph.run({"images": x})[0].square().sum().backward()
    assert weight.grad.abs().sum() > 0


def test_what_the_feeds_do_not_determine_is_named(resnet):
    features = resnet.graph.node[-1].input[0]
    with pytest.raises(GraphError, match=r"not computed from logits"):
        TorchGraph(resnet).run({"logits": torch.zeros(1, 10)}, [features])


def test_all_unknown_operators_are_listed():
    model = _model("Relu")
    model.graph.node.extend([helper.make_node("Celu", ["y"], ["z"]), helper.make_node("Mish", ["z"], ["w"])])
    with pytest.raises(GraphError, match="Celu, Mish"):
        TorchGraph(model)


def test_fake_quantisation_passes_gradients_inside_and_the_limit_to_the_scale():
    """Esser et al., arXiv:1902.08153, equation 3, written out."""
    values = torch.tensor([0.3, -0.8, 200.0, -200.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(values, scale).sum().backward()
    assert values.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    steps = torch.tensor([0.6, -1.6])
    assert scale.grad.item() == pytest.approx(float((steps.round() - steps).sum() + 127 - 128))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model("Pad", [_ints(0, 0, 1, 1, 0, 0, 1, 1)], mode="reflect"), "Pad with mode reflect"),
        (_model("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), r"AveragePool with pads \[0, 0, 1, 1\]"),
    ],
    ids=["Pad", "AveragePool"],
)
def test_a_form_of_an_operator_that_is_not_known_is_refused(model, message):
    with pytest.raises(GraphError, match=message):
        TorchGraph(model).run({"x": torch.zeros(2, 4, 6, 5)})


def _pair(zero_point):
    """x -> QuantizeLinear -> DequantizeLinear -> y, both with that zero point and a scale of 1/64."""
    model = _model("QuantizeLinear", [np.float32(2.0**-6), zero_point])
    model.graph.node[0].output[0] = "q"
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "c0", "c1"], ["y"], name="back"))
    return model


def test_a_zero_point_of_int8_moves_the_grid():
    model = _pair(np.int8(-128))
    x = _array(2, 4, 6, 5)
    (wanted,) = open_session(model, num_threads=1).run(None, {"x": x})
    assert wanted.min() == 0 and wanted.max() > 2  # 255 / 64 is the end of this grid, that of a symmetric one 127 / 64
    (got,) = TorchGraph(model).run({"x": torch.from_numpy(x)})
    np.testing.assert_array_equal(got.numpy(), wanted)


@pytest.mark.parametrize(
    ("zero_point", "message"),
    [(np.uint8(0), "not int8"), (np.uint8(128), "not int8"), (np.arange(4, dtype=np.int8), "several that are not 0")],
)
def test_another_zero_point_is_refused(zero_point, message):
    with pytest.raises(GraphError, match=f"'node' has a.*{message}"):
        TorchGraph(_pair(zero_point))
