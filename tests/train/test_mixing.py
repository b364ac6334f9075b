from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from resnet_deploy.train.colour import colour_offsets
from resnet_deploy.train.mixing import Mix, draw_mix, mix_batch, mixed_cross_entropy
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.sampler import step_generator


def recipe(**changes):
    return override_recipe(load_recipe("fast-cifar"), changes)


def test_without_alphas_nothing_is_mixed():
    assert draw_mix(recipe(), step_generator(0, 0)) is None


def test_mixup_is_a_weighted_mean_with_the_reverse_order():
    images = torch.rand(5, 3, 4, 6)
    mixed, share = mix_batch(images, Mix(share=0.3))
    assert share == 0.3
    expected = 0.3 * images + 0.7 * images.flip(0)
    # two roundings of float32 on values below 1
    torch.testing.assert_close(mixed, expected, rtol=0, atol=2.4e-7)


def test_cutmix_replaces_the_box_and_counts_its_pixels():
    images = torch.rand(4, 3, 8, 8)
    mixed, share = mix_batch(images, Mix(share=0.9, box=(0.25, 0.5, 0.0, 0.5)))
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:4, 0:4] = True
    assert torch.equal(mixed[:, :, inside], images.flip(0)[:, :, inside])
    assert torch.equal(mixed[:, :, ~inside], images[:, :, ~inside])
    assert share == 1 - 8 / 64  # of the pixels, whatever was drawn


def test_loss_is_that_of_the_mixed_target():
    # Oracle: cross entropy against the explicit mixture of one-hot rows.
    logits, labels = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 3, 4, 5, 1])
    one_hot = functional.one_hot(labels, 10).float()
    target = 0.25 * one_hot + 0.75 * one_hot.flip(0)
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    got = mixed_cross_entropy(logits, labels, 0.25, label_smoothing=0.0)
    # a few float32 roundings on a loss of about 3
    assert float(got) == pytest.approx(float(expected), abs=2e-6)
    assert float(mixed_cross_entropy(logits, labels, 0.75, label_smoothing=0.0)) != pytest.approx(float(got), abs=1e-3)


def test_shares_follow_the_beta_distribution_and_both_kinds_are_drawn():
    draws = [draw_mix(recipe(mixup_alpha=0.2, cutmix_alpha=1.0), step_generator(0, step)) for step in range(600)]
    cut = [draw for draw in draws if draw.box is not None]
    # binomial(600, 1/2): deviation 12; five of them
    assert 240 < len(cut) < 360
    blended = np.array([draw.share for draw in draws if draw.box is None])
    # Beta(a, a): variance 1 / (4 (2a + 1)) = 0.1786 at a = 0.2; of 300 draws its deviation is about 0.005
    assert blended.var() == pytest.approx(0.1786, abs=0.025)
    # Beta(1, 1) is uniform: variance 1/12, deviation of its estimate 0.0043
    assert np.var([draw.share for draw in cut]) == pytest.approx(1 / 12, abs=0.02)
    assert all(0 <= edge <= 1 for draw in cut for edge in draw.box)


def test_colour_offsets_are_the_sum_over_components():
    # Oracle: the formula written out for one image, Krizhevsky et al. 2012, section 4.1
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    deviations = np.array([0.2175, 0.0188, 0.0045])
    draw = np.array([0.1, -0.2, 0.05])
    expected = sum(vectors[:, k] * draw[k] * deviations[k] for k in range(3))
    got = colour_offsets(torch.tensor(draw, dtype=torch.float32)[None])[0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-8)
    # the vectors are orthonormal to the four digits given
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-4)
