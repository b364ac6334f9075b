from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.averaging import log_mean_softmax
from resnet_deploy.nets.catalogue import build_net, find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.nets.fully_convolutional import fully_convolutional
from resnet_deploy.nets.mean_image import attach_mean_image


class TinyVgg(nn.Module):
    """VGG's form at 28 px: maps of 7 x 7, and a first linear layer that spans them."""

    def __init__(self) -> None:
        super().__init__()
        self.center = nn.Identity()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(4))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(nn.Linear(6 * 49, 20), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(self.center(x))).flatten(1))


def _tolerance(terms: int, window: int) -> float:
    """Same features, bit for bit; then a mean of `window` values and sums of `terms` products in another order.

    A sum of n terms differs by about sqrt(n) roundoffs of 2^-24, relative to the largest logit.
    """
    return (terms**0.5 + window**0.5) * 2.0**-24


@pytest.mark.parametrize(("name", "terms", "window"), [("resnet8", 64, 64), ("resnet18", 512, 49)])
def test_at_its_own_size_it_is_the_classifier(name: str, terms: int, window: int) -> None:
    spec = find_net(name)
    net = fresh_net(spec)
    side = spec.preprocess.height_px
    dense = fully_convolutional(net, height_px=side, width_px=side)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, maps = net(x), dense.score_maps(x)
    assert maps.shape == (2, spec.num_classes, 1, 1) and dense.window[0] ** 2 == window
    error = (maps[:, :, 0, 0] - logits).abs().max() / logits.abs().max()
    assert error <= _tolerance(terms, window)
    with torch.no_grad():  # planted fault: one weight of the head is 0.1 % off
        weight = dense.head[0].weight
        weight.view(-1)[weight.abs().argmax()] *= 1.001
        assert (dense.score_maps(x)[:, :, 0, 0] - logits).abs().max() / logits.abs().max() > _tolerance(terms, window)


def test_a_head_that_spans_the_maps_becomes_a_convolution_of_their_size() -> None:
    torch.manual_seed(0)
    net = TinyVgg().eval()
    dense = fully_convolutional(net, height_px=28, width_px=28)
    x = torch.randn(3, 3, 28, 28)
    with torch.no_grad():
        logits, maps = net(x), dense.score_maps(x)
        assert dense.score_maps(torch.randn(1, 3, 36, 29)).shape == (1, 5, 3, 1)
    assert (maps[:, :, 0, 0] - logits).abs().max() / logits.abs().max() <= _tolerance(6 * 49 + 20, 1)


def test_every_position_is_the_classifier_on_its_window_of_maps() -> None:
    """Oracle: pool and classify each 8 x 8 window of the last maps by itself."""
    net = fresh_net(find_net("resnet8"))
    dense = fully_convolutional(net, height_px=32, width_px=32)
    with torch.no_grad():
        x = torch.randn(1, 3, 40, 44)
        maps, scores = dense.features(x), dense.score_maps(x)
        assert scores.shape[2:] == (3, 4)
        for i in range(3):
            for j in range(4):
                alone = net.fc(maps[:, :, i : i + 8, j : j + 8].mean(dim=(2, 3)))
                error = (scores[:, :, i, j] - alone).abs().max() / alone.abs().max()
                assert error <= _tolerance(64, 64)
        mean = torch.stack([scores[0, :, i, j].softmax(0) for i in range(3) for j in range(4)]).mean(0)
        # 12 softmaxes of 10 classes in float32: a few roundoffs each
        torch.testing.assert_close(dense(x)[0].exp(), mean, rtol=16 * 2.0**-24, atol=0)


@pytest.mark.parametrize(
    ("side", "maps", "scores"), [(224, 7, 1), (256, 8, 2), (384, 12, 6), (480, 15, 9), (640, 20, 14)]
)
def test_map_sizes_of_the_papers_scales(side: int, maps: int, scores: int) -> None:
    with torch.device("meta"):
        net = build_net(find_net("resnet18"))
        dense = fully_convolutional(net, height_px=224, width_px=224)
        x = torch.empty(1, 3, side, side)
    assert dense.features(x).shape[2:] == (maps, maps)
    assert dense.score_maps(x).shape[2:] == (scores, scores)


def test_a_mean_image_becomes_its_mean_per_channel() -> None:
    net = fresh_net(find_net("resnet8"))
    attach_mean_image(net, torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(3, 32, 32).clone())
    dense = fully_convolutional(net, height_px=32, width_px=32)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        # a mean image that is the same everywhere loses nothing; 9 layers * sqrt(576) * 2^-24, see export.parity
        limit = 9 * 24 * 2.0**-24 * float(net(x).abs().max())
        torch.testing.assert_close(dense.score_maps(x)[:, :, 0, 0], net(x), rtol=0, atol=limit)
        assert dense(torch.randn(1, 3, 50, 41)).shape == (1, 10)
    assert net.center.mean_image.shape == (3, 32, 32)


def test_too_small_an_image_and_a_net_of_another_form_are_refused() -> None:
    dense = fully_convolutional(fresh_net(find_net("resnet8")), height_px=32, width_px=32)
    with pytest.raises(ConfigError, match="24x24 px"):
        dense(torch.zeros(1, 3, 24, 24))
    with pytest.raises(ConfigError, match="Sequential"):
        fully_convolutional(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), height_px=1, width_px=1)


def test_log_mean_softmax_is_finite_and_is_no_mean_of_logits() -> None:
    far = torch.tensor([[1e4, 0.0, -1e4], [1e4, 1.0, -1e4]])
    result = log_mean_softmax(far, classes=1, over=0)
    assert torch.isfinite(result).all() and result.argmax() == 0
    # softmax: (1, 0), (.05, .95), (.05, .95) -> class 1; the logits' mean would say class 0
    votes = torch.tensor([[20.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    assert log_mean_softmax(votes, classes=1, over=0).argmax() == 1 and votes.mean(0).argmax() == 0
