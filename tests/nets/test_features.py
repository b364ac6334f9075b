from __future__ import annotations

import pytest
import torch

from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.features import Features, StageMaps, pools_any_size, stages_by_map


def test_maps_of_a_cifar_net_are_what_its_stages_give():
    net = fresh_net(find_net("resnet8")).eval()
    x = torch.randn(2, 3, 40, 24)
    with torch.no_grad():
        # The forward pass of nets.cifar, written out.
        c0 = net.layer1(torch.relu(net.bn1(net.conv1(x))))
        c1 = net.layer2(c0.clone())
        c2 = net.layer3(c1.clone())
        maps = StageMaps(net, ("c0", "c1", "c2"))(x)
        assert [tuple(m.shape) for m in maps] == [(2, 16, 40, 24), (2, 32, 20, 12), (2, 64, 10, 6)]
        for found, wanted in zip(maps, (c0, c1, c2), strict=True):
            assert torch.equal(found, wanted)
        assert torch.equal(StageMaps(net, ("c2",))(x)[0], c2)
        assert torch.equal(Features(net)(x), c2.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet18", [(64, 24, 16), (128, 12, 8), (256, 6, 4), (512, 3, 2)]),
        ("resnet50", [(256, 24, 16), (512, 12, 8), (1024, 6, 4), (2048, 3, 2)]),
    ],
)
def test_maps_of_an_imagenet_net_have_strides_4_to_32(name, shapes):
    with torch.device("meta"):
        net = build_net(find_net(name)).eval()
        maps = StageMaps(net, tuple(stages_by_map(net)))(torch.empty(1, 3, 96, 64))
        features = Features(net)(torch.empty(1, 3, 96, 64))
    assert list(stages_by_map(net)) == ["c2", "c3", "c4", "c5"]
    assert [tuple(m.shape)[1:] for m in maps] == shapes
    assert tuple(features.shape) == (1, shapes[-1][0])


def test_vgg_has_features_of_one_size_and_no_stages():
    with torch.device("meta"):
        net = build_net(find_net("vgg16")).eval()
        assert tuple(Features(net)(torch.empty(1, 3, 224, 224)).shape) == (1, 4096)
    assert stages_by_map(net) == {} and not pools_any_size(net)
    assert pools_any_size(fresh_net(find_net("resnet8")))


def test_no_hook_is_left_behind():
    net = fresh_net(find_net("resnet8")).eval()
    StageMaps(net, ("c0",))(torch.zeros(1, 3, 8, 8))
    Features(net)(torch.zeros(1, 3, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
