from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import IMAGENET_DEPTHS, find_net
from resnet_deploy.nets.published_accuracy import find_weights, published_accuracy


def test_every_figure_has_a_source_with_an_address():
    data = published_accuracy()
    named = {figures.source for figures in data.weights.values()} | {row.source for row in data.conversions}
    assert named == set(data.sources)
    assert all(source.title and source.address.startswith("https://") for source in data.sources.values())


def test_figures_are_percents_and_deeper_networks_are_better():
    for tag, figures in published_accuracy().weights.items():
        for size in (224, 288):
            known = [figures.top1_percent(f"resnet{depth}", size) for depth in IMAGENET_DEPTHS]
            known = [top1 for top1 in known if top1 is not None]
            assert known == sorted(known) and all(60 < top1 < 90 for top1 in known), (tag, size)


def test_v1_figures_agree_with_torchvisions_own_within_the_evaluations_difference():
    """torchvision's page: 69.758, 73.314, 76.130, 77.374, 78.312; timm decodes and resizes with other code."""
    figures = find_weights("torchvision-v1")
    for depth, own in zip(IMAGENET_DEPTHS, (69.758, 73.314, 76.130, 77.374, 78.312), strict=True):
        assert figures.top1_percent(f"resnet{depth}", 224) == pytest.approx(own, abs=0.05)


def test_sizes_and_nets_without_a_figure_have_none():
    assert find_weights("timm-a1").top1_percent("resnet50", 288) == 81.24
    assert find_weights("timm-a1").top1_percent("resnet50", 256) is None
    assert find_weights("torchvision-v2").top1_percent("resnet18", 224) is None
    assert find_weights("torchvision-v1").top1_percent("source", 224) is None


def test_the_allowance_is_the_largest_published_loss():
    data = published_accuracy()
    for precision in (Precision.FP16, Precision.INT8):
        rows = [row for row in data.conversions if row.precision is precision]
        assert data.worst_drop(precision).drop == max(row.before - row.after for row in rows)
    assert data.worst_drop(Precision.FP8) is None
    assert all(find_net(row.net) and row.drop >= 0 for row in data.conversions)


def test_the_guide_states_the_allowances_of_the_table():
    data = published_accuracy()
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "advise.md").read_text(encoding="utf-8")
    num_int8 = sum(row.precision is Precision.INT8 for row in data.conversions)
    assert f"{data.worst_drop(Precision.INT8).drop:.2f} points for INT8 (of {num_int8} published)" in guide
    assert f"{data.worst_drop(Precision.FP16).drop:.2f} for FP16 (of one)" in guide
