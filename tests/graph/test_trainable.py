"""An ONNX graph as a module: what it computes against ONNX Runtime, what it writes against `quantize`."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from resnet_deploy.core.errors import ArtifactMismatchError, GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.session import open_session
from resnet_deploy.graph.torch_graph import TorchGraph
from resnet_deploy.graph.trainable import TrainableGraph
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.table import CalibrationTable, TensorScale
from tests.reference.small_networks import bottleneck_onnx, copy_of, make_table, quantize_model, resnet8_onnx

SHAPES = {resnet8_onnx: (1, 3, 32, 32), bottleneck_onnx: (1, 3, 64, 64)}
BOTH = pytest.mark.parametrize("make", list(SHAPES))


def images(count: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *shape[1:], generator=torch.Generator().manual_seed(seed))


def measured_table(model: onnx.ModelProto, shape: tuple[int, ...]) -> CalibrationTable:
    """Each tensor's largest value on four random images."""
    names = find_placement(model).tensors
    with torch.no_grad():
        values = TorchGraph(model).run({"images": images(4, shape, seed=1)}, names)
    amax = {name: float(value.abs().max()) for name, value in zip(names, values, strict=True)}
    scales = {
        name: TensorScale(amax=a, scale=a / 127, minimum=0.0, maximum=a, num_values=1, num_zeros=0)
        for name, a in amax.items()
    }
    return CalibrationTable(
        network_sha256="0" * 64, method="max", num_images=4, num_distinct=4, num_constant=0, tensors=scales, images=()
    )


def both_files(make, precision: Precision) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = make()
    table = measured_table(model, SHAPES[make])
    return model, quantize_model(model, table, float_precision=precision)[0]


def as_bytes(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("learn_scales", [False, True])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@BOTH
def test_a_graph_that_was_not_trained_is_written_back_byte_for_byte(make, precision, learn_scales):
    model, int8 = both_files(make, precision)
    net = TrainableGraph(int8, original=model, learn_scales=learn_scales, input_shape=SHAPES[make])
    assert as_bytes(net.onnx_of(int8)) == as_bytes(int8)


def test_a_float_graph_that_was_not_trained_is_written_back_byte_for_byte():
    model = resnet8_onnx()
    assert as_bytes(TrainableGraph(model).onnx_of(model)) == as_bytes(model)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_changed_weights_are_rounded_and_written_as_quantize_does(precision):
    """Oracle: the same changes made to the FP32 file, and `quantize` run on it with the same table."""
    model, int8 = both_files(resnet8_onnx, precision)
    net = TrainableGraph(int8, original=model)
    float_net = TrainableGraph(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        others = dict(float_net.named_parameters())
        assert others.keys() == dict(net.named_parameters()).keys()
        for name, parameter in net.named_parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
            others[name].copy_(parameter)
    table = measured_table(model, SHAPES[resnet8_onnx])
    expected = quantize_model(float_net.onnx_of(model), table, float_precision=precision)[0]
    assert as_bytes(net.onnx_of(int8)) == as_bytes(expected)
    assert as_bytes(net.onnx_of(int8)) != as_bytes(int8)


@BOTH
def test_the_forward_pass_is_the_files_but_for_ties(make):
    """A float32 sum in another order, 1e-6 of it away, crosses the middle between two integers for a share of at most
    127 * 2e-6 of the values; each of these is a full step off, where rounding's own error is a step / sqrt(12). That is
    sqrt(12 * 2.5e-4) = 6 % of the rounding's error at once, and it moves what comes behind it, layer by layer, some of
    which crosses a middle in turn: 30 % were seen. Rounding in another way altogether gives sqrt(2) of it.
    """
    model, int8 = both_files(make, Precision.FP32)
    x = images(4, SHAPES[make])
    net = TrainableGraph(int8, original=model)
    with torch.no_grad():
        ours = net(x).numpy()
    theirs, exact = (open_session(m).run(None, {"images": x.numpy()})[0] for m in (int8, model))
    rounding = rms(theirs - exact)
    assert rounding > 0
    assert rms(ours - theirs) < 0.5 * rounding
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    with torch.no_grad():  # planted fault: one bias of one layer, of 10 % of the logits
        net.get_parameter("fc/bias")[0] += 0.1 * rms(exact) * exact.shape[1]
        wrong = net(x).numpy()
    assert rms(wrong - theirs) > 0.5 * rounding


def test_a_float_graph_computes_what_onnx_runtime_computes():
    model, x = resnet8_onnx(), images(4, SHAPES[resnet8_onnx])
    with torch.no_grad():
        ours = TrainableGraph(model)(x).numpy()
    theirs = open_session(model).run(None, {"images": x.numpy()})[0]
    # nine layers of float32 sums of up to 576 products each: 9 * sqrt(576) * 2^-24, of values of the logits' size
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("learn_scales", [False, True])
def test_every_weight_bias_and_scale_gets_a_gradient(learn_scales):
    model, int8 = both_files(resnet8_onnx, Precision.FP16)
    net = TrainableGraph(int8, original=model, learn_scales=learn_scales, input_shape=SHAPES[resnet8_onnx])
    net(images(2, SHAPES[resnet8_onnx])).logsumexp(1).sum().backward()
    parameters = dict(net.named_parameters())
    names = {name.replace(".", "/") for name in (tensor.name for tensor in model.graph.initializer)}
    assert parameters.keys() - {"scale_changes"} <= names
    assert ("scale_changes" in parameters) == learn_scales
    assert all(bool(p.grad.abs().sum() > 0) for p in parameters.values())


def test_the_gradient_of_a_scale_is_that_of_lsq():
    """Oracle: Esser et al., arXiv:1902.08153, equations 1 to 3 and section 2.2, written out for one pair and one Gemm."""
    x = torch.tensor([[0.31, -0.72, 9.0, -9.0, 0.5, 0.049]])
    weight = torch.tensor([[1.0, -2.0, 3.0, 0.5, -1.5, 0.25]])
    node = [
        onnx.helper.make_node("Gemm", ["images", "one"], ["x"], name="first"),
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        onnx.helper.make_node("Gemm", ["d", "w"], ["logits"], name="fc", transB=1),
    ]
    constants = {
        "s": np.array(0.05, np.float32),
        "z": np.array(0, np.int8),
        "w": weight.numpy(),
        "one": np.eye(6, dtype=np.float32),
    }
    graph = onnx.helper.make_graph(
        node,
        "one",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["N", 6])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    net = TrainableGraph(onnx.helper.make_model(graph), learn_scales=True, input_shape=(1, 6))
    net(x).sum().backward()
    v = x / 0.05
    inside = (v > -128) & (v < 127)
    by_value = torch.where(inside, v.round() - v, v.clamp(-128, 127))
    expected = (by_value * weight).sum() / (6 * 127) ** 0.5
    assert expected.abs() > 1
    torch.testing.assert_close(net.scale_changes.grad, expected.reshape(1))


def test_learnt_scales_stay_positive_tied_and_in_the_type_of_the_file():
    model, int8 = both_files(bottleneck_onnx, Precision.FP16)
    net = TrainableGraph(int8, original=model, learn_scales=True, input_shape=SHAPES[bottleneck_onnx])
    with torch.no_grad():
        net.scale_changes.copy_(torch.linspace(-1, 1, len(net.scale_changes)))
    constants = {t.name: numpy_helper.to_array(t) for t in net.onnx_of(int8).graph.initializer}
    before = {t.name: numpy_helper.to_array(t) for t in int8.graph.initializer}
    assert all(constants[name].dtype == before[name].dtype for name in before)
    scales = {k: v for k, v in constants.items() if k.endswith((".scale", ".scale.fp32")) and v.size == 1}
    assert min(float(v) for v in scales.values()) > 0
    assert constants["relu.scale"] != before["relu.scale"]
    for name in ("images.scale", "images.scale.fp32"):  # the image is made by no layer
        assert constants[name] == before[name]
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    assert scales[f"{pool.input[0]}.scale"] == scales[f"{pool.output[0]}.scale"]


def test_weights_that_refinement_rounded_the_other_way_stay_as_they_are():
    model, int8 = both_files(resnet8_onnx, Precision.FP16)
    initializer = next(t for t in int8.graph.initializer if t.name == "layer1.0.conv1.weight.int8")
    values = numpy_helper.to_array(initializer).copy()
    inner = np.abs(values) < 126
    values[inner] += np.where(np.arange(inner.sum()) % 3 == 0, 1, 0).astype(np.int8)
    initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    net = TrainableGraph(int8, original=model)
    assert as_bytes(net.onnx_of(int8)) == as_bytes(int8)


def test_a_network_whose_channels_were_scaled_before_rounding_is_trained_in_the_units_it_had():
    """Oracle: the gradients of the network that was not scaled, which do not know of the scaling."""
    model, int8 = both_files(resnet8_onnx, Precision.FP32)
    scaled = copy_of(int8)
    initializers = {tensor.name: tensor for tensor in scaled.graph.initializer}
    for name, factor in (("images.scale", 64), ("conv1.weight.scale", 1 / 64)):
        initializers[name].CopyFrom(
            numpy_helper.from_array(np.float32(factor) * numpy_helper.to_array(initializers[name]), name)
        )
    x = images(2, SHAPES[resnet8_onnx])
    nets = [TrainableGraph(m, original=model) for m in (int8, scaled)]
    for net, inputs in zip(nets, (x, 64 * x), strict=True):  # the second reads images 64 times as large
        net(inputs).logsumexp(1).sum().backward()
    plain, other = (net.get_parameter("conv1/weight") for net in nets)
    # Powers of two scale without rounding; only the weights between two integers are not known any more.
    scale = torch.tensor(numpy_helper.to_array(initializers["conv1.weight.scale"])).reshape(-1, 1, 1, 1) * 64
    assert ((plain - other).abs() <= 0.5001 * scale).all()
    torch.testing.assert_close(other.grad, plain.grad, rtol=1e-4, atol=1e-5 * float(plain.grad.abs().max()))
    assert as_bytes(nets[1].onnx_of(scaled)) == as_bytes(scaled)


def test_a_moving_average_of_the_module_can_be_made_and_written():
    model, int8 = both_files(resnet8_onnx, Precision.FP16)
    net = TrainableGraph(int8, original=model)
    average = torch.optim.swa_utils.AveragedModel(net, use_buffers=True)
    average.update_parameters(net)
    average.update_parameters(net)
    assert as_bytes(average.module.onnx_of(int8)) == as_bytes(int8)


def test_a_state_dict_holds_what_is_trained_and_nothing_else():
    model, int8 = both_files(resnet8_onnx, Precision.FP16)
    net = TrainableGraph(int8, original=model)
    assert net.state_dict().keys() == dict(net.named_parameters()).keys()
    assert all(isinstance(p, nn.Parameter) for p in net.parameters())


def test_another_fp32_network_is_refused():
    model, int8 = both_files(resnet8_onnx, Precision.FP16)
    with pytest.raises(ArtifactMismatchError, match=r"'conv1' .*\[16, 3, 3, 3\].*\[64, 3, 7, 7\]"):
        TrainableGraph(int8, original=bottleneck_onnx())
    without = copy_of(model)
    next(node for node in without.graph.node if node.name == "conv1").name = "stem"
    with pytest.raises(ArtifactMismatchError, match="no node 'conv1'"):
        TrainableGraph(int8, original=without)
    other = copy_of(model)
    name = next(node for node in other.graph.node if node.name == "fc" or node.op_type == "Gemm").input[1]
    initializer = next(tensor for tensor in other.graph.initializer if tensor.name == name)
    initializer.CopyFrom(numpy_helper.from_array(np.zeros((7, 64), np.float32), name))
    with pytest.raises(ArtifactMismatchError, match=r"\[10, 64\].*\[7, 64\]"):
        TrainableGraph(int8, original=other)


def test_an_int8_graph_without_its_fp32_network_is_refused():
    model = resnet8_onnx()
    int8 = quantize_model(model, make_table(model), float_precision=Precision.FP16)[0]
    with pytest.raises(GraphError, match="together with the FP32 graph"):
        TrainableGraph(int8)
