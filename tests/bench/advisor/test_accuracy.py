from __future__ import annotations

import pytest

from resnet_deploy.bench.advisor.accuracy import AccuracyBook
from resnet_deploy.bench.advisor.advice import AccuracyBasis
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from tests.bench.advisor.conftest import a_score


def test_published_fp32_is_taken_with_its_source(book):
    known = book.look_up("resnet50", 224, Precision.FP32)
    assert (known.basis, known.top1_percent) == (AccuracyBasis.PUBLISHED, 76.156)
    assert "torchvision-v1" in known.source and "timm" in known.source


def test_int8_is_fp32_less_the_largest_published_loss(book):
    known = book.look_up("resnet50", 224, Precision.INT8)
    assert known.basis is AccuracyBasis.DERIVED
    assert known.top1_percent == pytest.approx(76.156 - 0.6)  # 76.1 -> 75.5, the largest of the table
    assert (known.low, known.high) == (pytest.approx(75.556), 76.156)
    assert "0.60 points" in known.source and "modelopt" in known.source


def test_int8_of_weights_without_a_published_loss_has_no_lower_end():
    known = AccuracyBook((), weights="torchvision-v2").look_up("resnet152", 224, Precision.INT8)
    assert known.low is None and known.high == 82.294 and "4780" in known.source
    assert AccuracyBook((), weights="torchvision-v2").look_up("resnet152", 224, Precision.FP16).low is not None


def test_a_size_of_which_nothing_is_published_is_unknown_and_not_guessed(book):
    assert book.look_up("resnet50", 288, Precision.FP32).basis is AccuracyBasis.UNKNOWN
    assert book.look_up("resnet50", 288, Precision.FP32).high == pytest.approx(76.156 + 2.0)
    smaller = book.look_up("resnet50", 160, Precision.FP32)
    assert (smaller.basis, smaller.top1_percent, smaller.high) == (AccuracyBasis.UNKNOWN, None, 76.156)
    assert AccuracyBook((), weights="timm-a1").look_up("resnet50", 256, Precision.INT8).high == 81.24


def test_other_networks_and_precisions_without_a_published_loss_are_unknown(book):
    assert book.look_up("resnet20", 32, Precision.FP32).basis is AccuracyBasis.UNKNOWN
    known = book.look_up("resnet50", 224, Precision.FP8)
    assert known.basis is AccuracyBasis.UNKNOWN and "fp8" in known.source


def test_a_verdict_beats_what_was_published():
    book = AccuracyBook([a_score(precision=Precision.INT8, top1_percent=74.0)], weights="torchvision-v1")
    known = book.look_up("resnet50", 224, Precision.INT8)
    assert (known.basis, known.top1_percent) == (AccuracyBasis.MEASURED, 74.0)
    assert "out/a.verdict.json, 50,000 images" in known.source
    assert book.look_up("resnet101", 224, Precision.FP32).basis is AccuracyBasis.PUBLISHED


def test_a_network_with_a_verdict_has_weights_of_its_own_so_nothing_published_speaks_for_it():
    book = AccuracyBook([a_score(top1_percent=80.0, low=79.6, high=80.4)], weights="timm-a1")
    larger, smaller = (book.look_up("resnet50", size, Precision.FP32) for size in (288, 160))
    assert (larger.basis, larger.high) == (AccuracyBasis.UNKNOWN, pytest.approx(82.4))
    assert (smaller.basis, smaller.high) == (AccuracyBasis.UNKNOWN, 80.4) and "its verdict" in smaller.source


def test_the_verdict_on_most_images_counts_then_the_latest():
    few = a_score(top1_percent=90.0, num_images=100, created="2026-03")
    many = a_score(top1_percent=75.0, num_images=1000, created="2026-01")
    later = a_score(top1_percent=76.0, num_images=1000, created="2026-02")
    for order in ([few, many, later], [later, few, many]):
        assert AccuracyBook(order, weights="timm-a1").look_up("resnet50", 224, Precision.FP32).top1_percent == 76.0


def test_int8_is_derived_from_a_measured_fp32_with_the_ends_of_its_interval():
    book = AccuracyBook([a_score()], weights="torchvision-v1")
    known = book.look_up("resnet50", 224, Precision.INT8)
    assert known.top1_percent == pytest.approx(75.4) and known.low == pytest.approx(75.0) and known.high == 76.4


def test_published_figures_say_nothing_of_other_classes():
    book = AccuracyBook([a_score(net="resnet18", num_classes=10)], weights="torchvision-v1")
    assert book.look_up("resnet50", 224, Precision.FP32).basis is AccuracyBasis.UNKNOWN
    assert any("1,000 classes" in note and "10" in note for note in book.remarks(["resnet50"]))


def test_a_verdict_of_a_cifar_network_leaves_published_imagenet_figures_alone():
    book = AccuracyBook([a_score(net="resnet20", size_px=32, num_classes=10)], weights="torchvision-v1")
    assert book.look_up("resnet50", 224, Precision.FP32).top1_percent == 76.156
    assert book.look_up("resnet20", 32, Precision.FP32).top1_percent == 76.0


def test_unknown_weights_are_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="torchvision-v9") as caught:
        AccuracyBook((), weights="torchvision-v9")
    assert "torchvision-v2" in caught.value.remedy
