from __future__ import annotations

import pytest
import torch

from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net

KEYS = {  # the last convolution, its BN, and how many keys torchvision's state dict has
    "vgg16": ("features.28.weight", None, 32),
    "vgg16-bn": ("features.40.weight", "features.41.running_var", 97),
    "vgg19": ("features.34.weight", None, 38),
    "vgg19-bn": ("features.49.weight", "features.50.running_var", 118),
}


@pytest.mark.parametrize("name", KEYS)
def test_state_dict_keys_are_torchvisions(name):
    conv, batch_norm, count = KEYS[name]
    with torch.device("meta"):
        state = build_net(find_net(name)).state_dict()
    assert len(state) == count
    assert state[conv].shape == (512, 512, 3, 3)
    assert batch_norm is None or state[batch_norm].shape == (512,)
    assert state["classifier.0.weight"].shape == (4096, 25088)
    assert state["classifier.6.bias"].shape == (1000,)


@pytest.mark.parametrize("size, maps", [(224, 7), (448, 14)])
def test_maps_before_the_classifier(size, maps):
    with torch.device("meta"):
        net = build_net(find_net("vgg16")).eval()
        assert net.features(torch.empty(1, 3, size, size)).shape == (1, 512, maps, maps)
        assert net(torch.empty(1, 3, size, size)).shape == (1, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg19-bn"])
def test_a_fresh_vgg_computes_in_a_sane_range_and_leaves_the_random_state_alone(name):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    net = fresh_net(find_net(name), num_classes=10)
    assert torch.equal(torch.random.get_rng_state(), before)
    peaks = []
    for module in net.features:
        module.register_forward_hook(lambda _m, _i, out: peaks.append(out.abs().max().item()))
    with torch.no_grad():
        logits = net(torch.randn(2, 3, 224, 224))
    assert max(peaks) < 1e3 and logits.shape == (2, 10)
    assert 1e-3 < logits.std().item() < 1e2
