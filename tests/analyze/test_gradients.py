from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from resnet_deploy.analyze.gradients import (
    GradientOptions,
    GradientReport,
    analyze_gradients,
    first_to_last,
    layer_gradients,
)
from resnet_deploy.analyze.networks import fresh_net_for, open_net
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.source import Subset, open_images, stratified_sample
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.mean_image import attach_mean_image
from tests.analyze.conftest import DIGIT_NAMES, assert_drawn, lively_net

# In float64 both ways sum the same products in another order: 2**-53 times sqrt of up to 1e6 terms, over a few
# layers, stays far below.
EXACT = 1e-9


@pytest.fixture
def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two batches of different sizes, float64."""
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(n, 3, 16, 16, generator=generator).double(), torch.randint(0, 10, (n,), generator=generator))
        for n in (4, 6)
    ]


def mean_loss(net: nn.Module, batches) -> torch.Tensor:
    """Of all images, each batch normalised by itself."""
    losses = [functional.cross_entropy(net(x), y, reduction="none") for x, y in batches]
    return torch.cat(losses).mean()


def norms_by_hand(net: nn.Module, batches) -> dict[str, float]:
    weights = {n: m.weight for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    gradients = torch.autograd.grad(mean_loss(net, batches), list(weights.values()))
    return {name: float(g.norm()) for name, g in zip(weights, gradients, strict=True)}


def assert_same_norms(layers, expected: dict[str, float]) -> None:
    assert {layer.name for layer in layers} == set(expected)
    got = [layer.gradient_norm for layer in layers]
    np.testing.assert_allclose(got, [expected[layer.name] for layer in layers], rtol=EXACT)


@pytest.mark.parametrize("name", ["resnet8", "plain8", "resnet8-b"])
def test_norms_are_those_of_autograd(name, batches):
    net = lively_net(name).double().train()
    loss, layers = layer_gradients(net, batches)
    assert loss == pytest.approx(mean_loss(net, batches).item(), rel=EXACT)
    assert_same_norms(layers, norms_by_hand(net, batches))
    assert layers[0].name == "conv1" and (layers[-1].name, layers[-1].kind) == ("fc", "linear")
    assert [layer.index for layer in layers] == list(range(1, len(layers) + 1))
    assert [layer.name for layer in layers if layer.is_projection] == (
        ["layer2.0.downsample.0", "layer3.0.downsample.0"] if name == "resnet8-b" else []
    )
    for layer in layers:
        assert layer.weight_norm == pytest.approx(net.get_submodule(layer.name).weight.norm().item(), rel=EXACT)
        assert layer.relative_norm == pytest.approx(layer.gradient_norm / layer.weight_norm, rel=EXACT)


def test_planted_faults_are_caught(batches):
    """BN in evaluation mode, and the gradient of one batch alone."""
    net = lively_net("resnet8").double()
    _, layers = layer_gradients(net, batches)
    with pytest.raises(AssertionError):
        assert_same_norms(layers, norms_by_hand(net.eval(), batches))
    with pytest.raises(AssertionError):
        assert_same_norms(layers, norms_by_hand(net.train(), batches[:1]))


def test_the_loss_falls_by_the_norm_along_the_gradient(batches):
    """A derivative without autograd: (L(w + h g/|g|) - L(w - h g/|g|)) / 2h = |g|, up to h^2 and 1e-16 / h."""
    net, h = lively_net("resnet8").double().train(), 1e-6
    norms = {layer.name: layer.gradient_norm for layer in layer_gradients(net, batches)[1]}
    for name in ("conv1", "layer2.0.conv1", "fc"):
        weight = net.get_submodule(name).weight
        (gradient,) = torch.autograd.grad(mean_loss(net, batches), [weight])
        step, kept, losses = h * gradient / gradient.norm(), weight.detach().clone(), []
        with torch.no_grad():
            for sign in (1, -1):
                weight.copy_(kept + sign * step)
                losses.append(float(mean_loss(net, batches)))
            weight.copy_(kept)
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(norms[name], rel=1e-4)


def chain(*block: type[nn.Module]) -> nn.Sequential:
    """16 convolutions, each followed by one of every module of `block`."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for index in range(16):
        layers.append(nn.Conv2d(3 if index == 0 else 16, 16, 3, padding=1, bias=False))
        layers += [kind(16) if kind is nn.BatchNorm2d else kind() for kind in block]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).double()


def test_vanishing_gradients_are_told_from_healthy_ones(batches):
    """A sigmoid's slope is 1/4 at most, so 12 of them on the way from the last quarter to the first leave little."""
    vanishing, healthy = (
        first_to_last(layer_gradients(chain(*block), batches)[1])
        for block in ((nn.Sigmoid,), (nn.BatchNorm2d, nn.ReLU))
    )
    assert vanishing < 0.25**12
    assert healthy > 1


def test_layers_that_get_no_gradient_are_dead_and_have_no_ratio(batches):
    net = lively_net("resnet8").double()
    nn.init.zeros_(net.fc.weight)
    _, layers = layer_gradients(net, batches)
    assert [layer.name for layer in layers if layer.gradient_norm > 0] == ["fc"]
    assert layers[-1].relative_norm is None and layers[-1].weight_norm == 0
    assert first_to_last(layers) is None


def test_the_report_compares_files_and_fresh_nets_on_the_same_images(save_net, tmp_path):
    file, out = save_net("resnet8"), tmp_path / "g.png"
    options = GradientOptions(files=(file,), nets=("plain8",), data="digits", num_images=30, batch_size=8, out=out)
    report = analyze_gradients(options)
    assert report.num_images == 24 and report.batch_size == 8  # 30 images are three whole batches
    assert [(n.label, n.weights, n.residual, n.file) for n in report.nets] == [
        ("resnet8", "trained", True, str(file)),
        ("plain8", "fresh, seed 0", False, None),
    ]
    assert all(net.num_dead == 0 and net.first_to_last > 0.1 for net in report.nets)
    assert_drawn(out, size=(960, 768))
    assert from_plain(GradientReport, json.loads(out.with_suffix(".json").read_text()), source="json") == report
    assert _by_hand(report, options, file) == pytest.approx(report.nets[0].loss, rel=1e-5)  # float32, 24 images


def _by_hand(report: GradientReport, options: GradientOptions, file: Path) -> float:
    """The loss of the same 24 images, found again by the rule in the docstrings."""
    source = open_images("digits", split="train")
    chosen = stratified_sample(source, options.num_images, seed=0).indices
    images = Subset(source, np.random.default_rng(0).permutation(chosen)[: report.num_images])
    batches = [
        (torch.from_numpy(b.images), torch.from_numpy(b.labels))
        for b in input_batches(images, DIGITS_PREPROCESS, batch_size=8)
    ]
    return mean_loss(lively_net("resnet8").train(), batches).item()


def test_fresh_means_the_weights_that_training_starts_from(save_net):
    file = save_net("resnet8")
    torch.manual_seed(5)  # as training does with --seed 5
    start = build_net(find_net("resnet8"), num_classes=10).state_dict()
    by_name = fresh_net_for("resnet8", data="digits", classes=DIGIT_NAMES, seed=5)
    by_file = open_net(file, label="a", fresh_seed=5)
    assert by_name.weights == by_file.weights == "fresh, seed 5"
    for net in (by_name.net, by_file.net):
        assert all(torch.equal(value, start[key]) for key, value in net.state_dict().items())
    trained = open_net(file, label="a")
    assert trained.weights == "trained" and not torch.equal(trained.net.conv1.weight, start["conv1.weight"])
    other_seed = fresh_net_for("resnet8", data="digits", classes=DIGIT_NAMES, seed=6)
    assert not torch.equal(other_seed.net.conv1.weight, start["conv1.weight"])


def test_a_mean_image_stays_with_the_fresh_net(save_net):
    """The files' own centre is part of what the net sees, not of its weights."""
    image = torch.full((3, 32, 32), 0.25)
    file = save_net("resnet8", change=lambda net: attach_mean_image(net, image))
    assert torch.equal(open_net(file, label="a", fresh_seed=0).net.center.mean_image, image)


def test_classes_are_matched_by_name(save_net, tmp_path):
    """The same net with names and outputs the other way round has the same loss; with the names alone it has not."""

    def turn_round(net: torch.nn.Module) -> None:
        net.fc.weight.data, net.fc.bias.data = net.fc.weight.data.flip(0), net.fc.bias.data.flip(0)

    backwards = tuple(str(i) for i in reversed(range(10)))
    files = (
        save_net("resnet8"),
        save_net("resnet8", file="both.safetensors", labels=backwards, change=turn_round),
        save_net("resnet8", file="names.safetensors", labels=backwards),
    )
    options = GradientOptions(files=files, data="digits", num_images=16, out=tmp_path / "g.png")
    losses = [net.loss for net in analyze_gradients(options).nets]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)  # float32, sums of ten logits in another order
    assert losses[2] != pytest.approx(losses[0], rel=1e-2)
    other = save_net("resnet8", file="other.safetensors", labels=("cat", *(str(i) for i in range(1, 10))))
    with pytest.raises(DataError, match="digits/train.* has the class '0', which other does not have"):
        analyze_gradients(GradientOptions(files=(other,), data="digits", num_images=16, out=tmp_path / "h.png"))
    assert not (tmp_path / "h.png").exists()


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no network was given"):
        GradientOptions(data="digits")
    with pytest.raises(ConfigError, match="batch_size is 1, expected at least 2"):
        GradientOptions(data="digits", nets=("resnet8",), batch_size=1)
    with pytest.raises(ConfigError, match="unknown net 'resnet9'"):
        analyze_gradients(GradientOptions(data="digits", nets=("resnet9",), num_images=4))
    with pytest.raises(DataError, match="noise has no labels"):
        analyze_gradients(GradientOptions(data="noise", split=None, nets=("resnet8",)))
    with pytest.raises(DataError, match="1 image, BN needs 2"):
        analyze_gradients(GradientOptions(data="digits", nets=("resnet8",), num_images=1))
    with pytest.raises(ConfigError, match="no image was given"):
        layer_gradients(lively_net("resnet8"), [])
