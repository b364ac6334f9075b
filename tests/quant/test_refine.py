"""Which images refinement decodes, learns from and shows its gain on."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant import refine as module
from resnet_deploy.quant.prepare import prepare
from resnet_deploy.quant.refine import RefineOptions, open_refinement_images, refine_model
from resnet_deploy.quant.table import read_table


class _Counting:
    """A source that notes which of its images are decoded."""

    def __init__(self, source) -> None:
        self._source, self.read = source, []

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def image(self, index: int) -> np.ndarray:
        self.read.append(index)
        return self._source.image(index)


@pytest.fixture
def refine(calibrated, monkeypatch):
    """Refine with so many images at once; gives the places that were decoded and learnt from, and the gains."""
    model, table = read_onnx(calibrated), read_table(calibrated.with_name("net.calib.json"))
    preprocess = read_manifest(calibrated).preprocess
    steps = prepare(model, table, float_precision=Precision.FP32)

    def run(*, num_images: int, at_once: int, given: int | None = None):
        monkeypatch.setattr(module, "PIXELS_AT_ONCE", at_once * preprocess.height_px * preprocess.width_px)
        learnt, real = [], module.reconstruct

        def reconstruct(original, quantized, images, *others, **named):
            learnt.append(len(images))
            return real(original, quantized, images, *others, **named)

        monkeypatch.setattr(module, "reconstruct", reconstruct)
        options = RefineOptions(refinements=("bias",), data="digits", num_images=num_images)
        source = _Counting(open_refinement_images(options))
        if given is not None:
            source = _Counting(module.Subset(source, range(given)))
        done = refine_model(
            steps.original, steps.quantized, source, preprocess, options, float_precision=Precision.FP32
        )
        return source, learnt[0], done.gains

    return run


def test_of_large_images_fewer_are_learnt_from_and_no_others_decoded(refine) -> None:
    source, learnt, gains = refine(num_images=12, at_once=3)
    assert learnt == 3 and len(source.read) == len(set(source.read)) == 3 + 12
    assert all(gain.is_held_out and gain.score.num_images == 12 for gain in gains)


def test_what_is_too_much_to_learn_from_shows_the_gain(refine) -> None:
    """Ten images where four can be held: six are left to measure on."""
    source, learnt, gains = refine(num_images=16, at_once=4, given=10)
    assert learnt == 4 and sorted(source.read) == list(range(10))
    assert gains[0].is_held_out and gains[0].score.num_images == 6


def test_few_images_are_learnt_from_and_measured_on(refine) -> None:
    source, learnt, gains = refine(num_images=16, at_once=64, given=10)
    assert learnt == 10 and set(source.read) == set(range(10))
    assert not gains[0].is_held_out and gains[0].score.num_images == 10


def test_those_learnt_from_are_spread_over_the_sample_so_over_the_classes() -> None:
    learnt, shown = module._places(40, learn_from=10, show_on=20)
    assert learnt == list(range(0, 40, 4)) and len(shown) == 20 and not set(learnt) & set(shown)
    assert max(shown) >= 36 and min(shown) <= 3
