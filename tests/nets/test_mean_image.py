from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError
from resnet_deploy.export.onnx_export import onnx_from_torch
from resnet_deploy.export.parity import parity_with_fp32, parity_with_torch
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net, load_checkpoint, save_checkpoint
from resnet_deploy.nets.mean_image import MEAN_IMAGE_KEY, attach_mean_image, channel_means

SPEC = find_net("resnet8")
IMAGE = torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32)


def centred(mean_image=IMAGE):
    net = fresh_net(SPEC)
    attach_mean_image(net, mean_image)
    return net


def save(path, net):
    labels = tuple("abcdefghij")
    save_checkpoint(
        path,
        net,
        spec=SPEC,
        preprocess=SPEC.preprocess,
        labels=labels,
        stage="train",
        inputs={},
        options={},
        details={},
    )


@pytest.mark.parametrize("name", ["resnet8", "plain8", "resnet18", "vgg16"])
def test_every_net_begins_by_subtracting_it(name):
    with torch.device("meta"):
        net = build_net(find_net(name))
        assert not any("center" in key for key in net.state_dict())
    seen = []
    net.center.register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape))
    net(torch.empty(2, 3, 64, 64, device="meta"))
    assert seen == [(2, 3, 64, 64)]


def test_the_net_sees_its_input_minus_the_mean_image():
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(centred()(x), fresh_net(SPEC)(x - IMAGE))
        assert not torch.equal(centred()(x), fresh_net(SPEC)(x))


def test_attaching_again_replaces_it():
    net = centred()
    attach_mean_image(net, 2 * IMAGE)
    assert torch.equal(net.state_dict()[MEAN_IMAGE_KEY], 2 * IMAGE)


def test_it_travels_with_the_checkpoint(tmp_path):
    path, net = tmp_path / "net.safetensors", centred()
    save(path, net)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(path).net(x), net(x))


def test_a_checkpoint_whose_mean_image_has_another_size_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save(path, centred(torch.zeros(3, 28, 28)))
    with pytest.raises(ArtifactMismatchError, match=r"'center\.mean_image' has shape \[3, 28, 28\], .* \[3, 32, 32\]"):
        load_checkpoint(path)


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32), (1, 3, 32, 32)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ConfigError, match=r"expected \[3, H, W\]"):
        attach_mean_image(build_net(SPEC), torch.zeros(shape))


def test_nan_is_refused():
    with pytest.raises(ConfigError, match="NaN"):
        attach_mean_image(build_net(SPEC), torch.full((3, 32, 32), float("nan")))


def test_its_means_per_channel_fit_an_input_of_any_size():
    means = channel_means(IMAGE)
    expected = np.asarray(IMAGE, dtype=np.float64).mean(axis=(1, 2)).astype(np.float32)
    assert means.shape == (3, 1, 1) and np.array_equal(means.numpy().ravel(), expected)
    with torch.no_grad():
        assert centred(means)(torch.randn(1, 3, 48, 40)).shape == (1, 10)


def test_it_is_part_of_the_exported_graph():
    net = centred()
    model = onnx_from_torch(net, SPEC.preprocess)
    first = model.graph.node[0]
    assert (first.op_type, list(first.input)) == ("Sub", ["images", "center.mean_image"])
    assert parity_with_torch(model, net, SPEC.preprocess, name="mean.onnx")
    assert parity_with_fp32(fp16_from_fp32(model), model, SPEC.preprocess, name="mean.fp16.onnx")
