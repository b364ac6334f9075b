from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnet_deploy.analyze.report import picture_file
from resnet_deploy.analyze.responses import ResponseOptions, ResponseReport, analyze_responses, layer_responses
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, build_net, find_net
from tests.analyze.conftest import assert_drawn, lively_net
from tests.reference.plain_responses import plain_responses

# One float32 convolution sums up to 64 * 9 = 576 products: rounding errors of about sqrt(576) * 2**-24 = 1.4e-6 of
# its output, over the 7 layers of an 8-layer net at most 1e-5; the standard deviation itself is taken in float64.
TOLERANCE = 1e-5


def images(count: int, *, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def assert_same_stds(layers, expected: dict[str, float]) -> None:
    assert [layer.name for layer in layers] == list(expected)
    np.testing.assert_allclose([layer.std for layer in layers], list(expected.values()), rtol=TOLERANCE)


@pytest.mark.parametrize("name, residual", [("resnet8", True), ("plain8", False)])
def test_responses_are_those_computed_from_the_weights_alone(name, residual):
    net, batch = lively_net(name), images(5)
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    measured = layer_responses(net, [batch[:2], batch[2:]])
    reference = plain_responses(state, batch.numpy(), num_blocks=1, residual=residual)
    assert_same_stds(measured, reference)
    assert [layer.measured_at for layer in measured][:2] == ["bn1", "layer1.0.bn1"]
    assert [layer.index for layer in measured] == list(range(1, 8))


@pytest.mark.parametrize("fault", [{"after_relu": True, "residual": True}, {"residual": False}])
def test_a_planted_fault_is_caught(fault):
    net, batch = lively_net("resnet8"), images(5)
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    with pytest.raises(AssertionError):
        assert_same_stds(layer_responses(net, [batch]), plain_responses(state, batch.numpy(), num_blocks=1, **fault))


def test_a_relu_in_place_does_not_reach_the_responses():
    def stack(inplace: bool) -> nn.Sequential:
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace), nn.Conv2d(8, 8, 3), nn.ReLU(inplace)]
        return nn.Sequential(*body)

    overwritten, kept = (layer_responses(stack(inplace), [images(4, side=8)]) for inplace in (True, False))
    assert overwritten == kept
    # a convolution that no BN reads is measured at its own output
    assert [(layer.name, layer.measured_at) for layer in kept] == [("0", "1"), ("3", "3")]
    behind = np.maximum(stack(False)[:2].eval()(images(4, side=8)).detach().numpy(), 0)
    assert kept[0].std > 1.2 * behind.std()  # what a hook behind the ReLU would have given


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 1.0, -3e4]),
    seed=st.integers(0, 99),
)
def test_streaming_equals_all_values_at_once(sizes, offset, seed):
    """The convolution copies its input, so the values are known exactly.

    Merging k batches in float64 rounds a few times each, relative to the largest value squared over the variance:
    (3e4)**2 * 2**-52 * 10 roundings / 1 = 2e-6 at worst of the variance. In float32 the offset would leave nothing.
    """
    copy = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        copy.weight.copy_(torch.eye(3)[:, :, None, None] * torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    x = np.random.default_rng(seed).normal(offset, 1.0, (sum(sizes), 3, 4, 4)).astype(np.float32)
    batches = torch.from_numpy(x).split(sizes)
    (layer,) = layer_responses(nn.Sequential(copy), batches)
    exact = x.astype(np.float64)
    assert layer.num_values == x.size
    assert layer.std == pytest.approx(exact.std(), rel=2e-6)
    assert layer.mean == pytest.approx(exact.mean(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "name, count, last, measured_at",
    [
        ("resnet18", 16, "layer4.1.conv2", "layer4.1.bn2"),  # both 3x3 of each basic block; the 7x7 stem is none
        ("resnet50", 16, "layer4.2.conv2", "layer4.2.bn2"),  # the 3x3 of each bottleneck
        ("resnet14-c", 13, "layer3.1.conv2", "layer3.1.bn2"),  # projections are 1x1
    ],
)
def test_which_layers_of_a_net_are_measured(name, count, last, measured_at):
    layers = layer_responses(build_net(find_net(name), num_classes=3), [images(1, side=64)])
    assert (len(layers), layers[-1].name, layers[-1].measured_at) == (count, last, measured_at)


@pytest.mark.slow
def test_a_deeper_residual_net_answers_more_softly_as_the_paper_found(shared_data):
    """Fig. 7 on CIFAR-10 nets that others trained: the mean response of ResNet-56 is below that of ResNet-20."""
    source = stratified_sample(open_images(str(shared_data / "cifar10-jpeg"), split="test"), 64, seed=0)
    (batch,) = input_batches(source, CIFAR_PREPROCESS, batch_size=64)
    means = []
    for name, file in (("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")):
        loaded = torch.load(shared_data / "weights" / file, map_location="cpu", weights_only=True)["state_dict"]
        net = build_net(find_net(name))
        net.load_state_dict({k.removeprefix("module.").replace("linear", "fc"): v for k, v in loaded.items()})
        stds = [layer.std for layer in layer_responses(net, [torch.from_numpy(batch.images)])]
        means.append(sum(stds) / len(stds))
    assert means[1] < 0.8 * means[0]  # 0.43 and 0.69 when this was written; another 64 images move each by under 2 %


def test_a_net_without_a_3x3_convolution_is_refused():
    with pytest.raises(ConfigError, match="Sequential has no 3x3 convolution"):
        layer_responses(nn.Sequential(nn.Conv2d(3, 4, 1)), [images(1, side=8)])
    with pytest.raises(ConfigError, match="no image"):
        layer_responses(lively_net("resnet8"), [])


def test_the_report_is_written_and_does_not_depend_on_the_batch_size(save_net, tmp_path):
    files = (save_net("plain8"), save_net("resnet8"))
    reports = [
        analyze_responses(
            ResponseOptions(files=files, data="digits", num_images=24, batch_size=batch, out=tmp_path / f"{batch}.png")
        )
        for batch in (24, 7)
    ]
    first = reports[0]
    for a, b in zip(first.nets, reports[1].nets, strict=True):
        # convolutions of other batch sizes may sum in another order
        np.testing.assert_allclose([x.std for x in a.layers], [x.std for x in b.layers], rtol=TOLERANCE)
        assert a.mean_std == pytest.approx(sum(x.std for x in a.layers) / 7)
    assert [(net.label, net.net, net.residual) for net in first.nets] == [
        ("plain8", "plain8", False),
        ("resnet8", "resnet8", True),
    ]
    assert first.num_images == 24 and first.data == "24 of digits/val"
    assert_drawn(tmp_path / "24.png", size=(960, 768))
    assert from_plain(ResponseReport, json.loads((tmp_path / "24.json").read_text()), source="json") == first
    manifest = read_manifest(tmp_path / "24.json", kind="analysis")
    assert [record.role for record in manifest.inputs] == ["checkpoint plain8", "checkpoint resnet8", "images"]


def test_the_picture_of_one_net_goes_beside_it_and_of_several_into_out():
    one, other, given = Path("a/resnet8.safetensors"), Path("b/plain8.safetensors"), Path("x.png")
    assert picture_file(None, [one], "responses") == Path("a/resnet8.responses.png")
    assert picture_file(None, [one, other], "responses") == Path("out/responses.png")
    assert picture_file(given, [one], "responses") == given


def test_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="picture .*x.jpg must end in .png"):
        ResponseOptions(files=(tmp_path / "a",), data="digits", out=tmp_path / "x.jpg")
    with pytest.raises(ConfigError, match="num_images is -1.*batch_size is 0"):
        ResponseOptions(files=(tmp_path / "a",), data="digits", num_images=-1, batch_size=0)
    with pytest.raises(ConfigError, match="no checkpoint"):
        ResponseOptions(files=(), data="digits")
