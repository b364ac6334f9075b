from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_deploy.train.sampler import StepSampler, image_seeds, step_generator


@settings(max_examples=40, deadline=None)
@given(num_images=st.integers(2, 60), batch=st.integers(2, 70), seed=st.integers(0, 2**32 - 1))
def test_every_image_is_used_once_an_epoch(num_images, batch, seed):
    sampler = StepSampler(num_images, batch, seed=seed)
    stream = np.concatenate([sampler.indices(step) for step in range(-(-3 * num_images // sampler.batch_size))])
    for epoch in range(3):
        part = stream[epoch * num_images : (epoch + 1) * num_images]
        assert sorted(part) == list(range(num_images))


def test_any_step_can_be_asked_for_first():
    walked, jumped = StepSampler(50, 16, seed=3), StepSampler(50, 16, seed=3)
    walk = [walked.indices(step) for step in range(20)]
    np.testing.assert_array_equal(jumped.indices(19), walk[19])
    np.testing.assert_array_equal(jumped.indices(3), walk[3])  # straddles the end of the first epoch (50 = 3 * 16 + 2)


def test_orders_differ_between_epochs_and_seeds():
    first, other = StepSampler(64, 64, seed=0), StepSampler(64, 64, seed=1)
    assert not np.array_equal(first.indices(0), first.indices(1))
    assert not np.array_equal(first.indices(0), other.indices(0))


def test_paper_counts():
    # 64,000 batches of 128 are 163.84 epochs of 50,000 images
    sampler = StepSampler(50_000, 128, seed=0)
    assert sampler.epochs_after(64_000) == 163
    assert sampler.steps_of(1) == 391
    assert [sampler.epochs_after(step) for step in (390, 391)] == [0, 1]


def test_a_batch_is_never_larger_than_the_set():
    assert StepSampler(30, 128, seed=0).batch_size == 30


def test_random_numbers_of_a_step_depend_on_seed_and_step_only():
    draw = lambda *key: torch.rand(4, generator=step_generator(*key)).tolist()
    assert draw(1, 5) == draw(1, 5)
    assert len({tuple(draw(seed, step)) for seed in range(3) for step in range(3)}) == 9


def test_image_seeds_are_distinct_and_cut_without_change():
    positions = np.arange(10_000, dtype=np.int64)
    seeds = image_seeds(7, positions)
    assert seeds.dtype == np.int64 and (seeds >= 0).all()
    assert len(np.unique(seeds)) == 10_000
    np.testing.assert_array_equal(image_seeds(7, positions[100:200]), seeds[100:200])
    assert not np.array_equal(image_seeds(8, positions), seeds)


def test_image_seeds_look_uniform():
    # mean of 10,000 uniform draws: deviation 1 / sqrt(12 * 10,000) = 0.0029; five deviations
    shares = image_seeds(0, np.arange(10_000)) / 2**63
    assert shares.mean() == pytest.approx(0.5, abs=0.0145)
    neighbours = np.corrcoef(shares[:-1], shares[1:])[0, 1]
    assert abs(neighbours) < 0.05  # deviation of a correlation of independent draws: 0.01
