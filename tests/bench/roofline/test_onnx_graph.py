from __future__ import annotations

import pytest
import torch

from resnet_deploy.bench.roofline.fusion import FusedLayer, fuse, in_precision
from resnet_deploy.bench.roofline.module_graph import operations_of_module, operations_of_net
from resnet_deploy.bench.roofline.onnx_graph import operations_of_model
from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.export.onnx_export import onnx_from_torch
from resnet_deploy.graph.float16 import bf16_from_fp32, fp16_from_fp32
from resnet_deploy.nets.blocks import Bottleneck
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.imagenet import ImageNetResNet
from tests.reference.small_networks import bottleneck_onnx, make_table, quantize_model, resnet8_onnx


def plain(layers: tuple[FusedLayer, ...]) -> list[tuple]:
    """Everything that a bound depends on; the layer that converts the images goes by several names."""

    def value(tensor):
        return None if tensor is None else (tensor.value.elements, tensor.value.type)

    return [
        (
            layer.kind, layer.type, layer.multiply_adds, tuple(map(value, layer.reads)), value(layer.residual),
            tuple(map(value, layer.writes)), tuple((w.elements, w.type, w.is_bias) for w in layer.weights), layer.stage,
        )
        for layer in layers
    ]  # fmt: skip


def int8(model):
    return quantize_model(model, make_table(model), float_precision=Precision.FP16)[0]


WRITERS = {
    Precision.FP32: lambda model: model,
    Precision.FP16: fp16_from_fp32,
    Precision.BF16: bf16_from_fp32,
    Precision.INT8: int8,
}


@pytest.mark.parametrize("precision", WRITERS)
def test_a_file_and_the_network_by_name_give_the_same_layers(precision: Precision) -> None:
    from_file = fuse(operations_of_model(WRITERS[precision](resnet8_onnx())))
    by_name = in_precision(fuse(operations_of_net("resnet8")), precision)
    assert plain(from_file) == plain(by_name)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_they_agree_with_bottlenecks_projections_and_a_pool(precision: Precision) -> None:
    net = ImageNetResNet(Bottleneck, (2, 1, 1, 1), num_classes=10).to("meta").eval()
    by_module = in_precision(fuse(operations_of_module(net, size_px=64)), precision)
    assert plain(fuse(operations_of_model(WRITERS[precision](bottleneck_onnx())))) == plain(by_module)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precisions"),
    [("resnet18", WRITERS), ("resnet50", WRITERS), ("resnet34-c", WRITERS), ("vgg16-bn", (Precision.FP32,))],
)
def test_they_agree_for_real_networks(name: str, precisions) -> None:
    spec = find_net(name)
    net = fresh_net(spec)
    for parameter_name, parameter in net.named_parameters():
        if parameter_name.endswith("bias"):
            torch.nn.init.ones_(parameter)  # the exporter drops biases that are zero
    model = onnx_from_torch(net, spec.preprocess)
    for precision in precisions:
        by_name = in_precision(fuse(operations_of_net(name)), precision)
        assert plain(fuse(operations_of_model(WRITERS[precision](model)))) == plain(by_name)


def test_a_layer_left_in_floating_point_is_seen() -> None:
    model = resnet8_onnx()
    mixed = quantize_model(model, make_table(model), float_precision=Precision.FP16, exclude=("layer2.0.conv1",))[0]
    layers = {layer.name: layer for layer in fuse(operations_of_model(mixed))}
    assert layers["layer2.0.conv1"].type == "float16" and layers["layer2.0.conv2"].type == "int8"
    # the block before is read by it in FP16 and by the shortcut in INT8: both are written
    assert {t.value.type for t in layers["layer1.0.conv2"].writes} == {"float16", "int8"}


def test_a_dynamic_size_is_refused_with_the_tensor() -> None:
    model = resnet8_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(GraphError, match="the shape of"):
        operations_of_model(model)
