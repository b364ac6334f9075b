from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resnet_deploy.nets.catalogue import build_net, find_net


def without_memory(name):
    with torch.device("meta"):
        return build_net(find_net(name)).eval()


def test_state_dict_keys_are_torchvisions():
    keys = without_memory("resnet50").state_dict().keys()
    for key in (
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer4.2.conv3.weight",
        "layer4.2.bn3.num_batches_tracked",
        "fc.bias",
    ):
        assert key in keys
    assert len(keys) == 320  # torchvision.models.resnet50().state_dict()


@pytest.mark.parametrize("name", ["resnet34", "plain34"])
def test_maps_halve_and_widths_double(name):
    """Design rules (i) and (ii) of section 3.3: 56, 28, 14, 7 and 64, 128, 256, 512, by convolutions of stride 2."""
    net, shapes = without_memory(name), []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        stage.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:3])))
    net(torch.empty(1, 3, 224, 224, device="meta"))
    assert shapes == [(64, 56), (128, 28), (256, 14), (512, 7)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50-v1-caffe", "plain34", "resnet101-c"])
def test_one_max_pool_one_average_pool_and_no_dropout(name):
    kinds = [type(module) for module in without_memory(name).modules()]
    assert kinds.count(nn.MaxPool2d) == kinds.count(nn.AdaptiveAvgPool2d) == 1
    assert not any(issubclass(kind, nn.modules.dropout._DropoutNd) for kind in kinds)
    assert kinds.count(nn.Linear) == 1


def caffe_pool(x):
    """pool1 of the original prototxt (kernel 3, stride 2, pad 0): Caffe rounds up and cuts windows at the edge."""
    size = math.ceil((x.shape[-1] - 3) / 2) + 1
    rows = [
        torch.stack([x[..., 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].amax((-2, -1)) for j in range(size)], -1)
        for i in range(size)
    ]
    return torch.stack(rows, -2)


@pytest.mark.parametrize("side", [112, 8, 9])
def test_v1_caffe_pools_as_caffe_does(side):
    x = torch.randn(1, 2, side, side)
    caffe, ours = without_memory("resnet50-v1-caffe").maxpool, without_memory("resnet50").maxpool
    assert torch.equal(caffe(x), caffe_pool(x))
    if side % 2 == 0:  # then sizes agree, and windows lie one pixel apart
        assert caffe(x).shape == ours(x).shape
        assert not torch.equal(caffe(x), ours(x))


def test_v1_caffe_takes_pixels_of_0_to_255_in_rgb_order():
    preprocess = find_net("resnet50-v1-caffe").preprocess
    pixel = torch.tensor([200.0, 100.0, 50.0])
    value = (pixel / 255 - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    # Two roundings of values up to 255: 255 * 2 * 2^-24.
    torch.testing.assert_close(value, pixel - torch.tensor([123.15163, 115.90288, 103.06262]), rtol=0, atol=4e-5)


@pytest.mark.parametrize("name", ["plain18", "resnet20-c", "resnet56"])
def test_convolutions_start_at_std_sqrt_2_over_fan(name):
    """The sample std of n normal values is off by sigma / sqrt(2 n); 5 of these for about 100 tensors."""
    torch.manual_seed(0)
    for module in build_net(find_net(name)).modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
            n = module.weight.numel()
            assert abs(module.weight.std().item() / expected - 1) < 5 / math.sqrt(2 * n)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and not module.bias.any()


@pytest.mark.parametrize("name", ["resnet18", "resnet50-v1-caffe", "plain18", "resnet20-c", "plain8"])
def test_forward_shape_and_class_count(name):
    spec = find_net(name)
    net = build_net(spec, num_classes=7).eval()
    side = min(64, spec.preprocess.height_px)
    with torch.no_grad():
        assert net(torch.randn(2, 3, side, side)).shape == (2, 7)
