"""Pillow's weights are the contract's integers wherever the proof says so; numpy's passes give the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.data.resize import WEIGHT_BITS, axis_weights, pillow_is_exact, resize_window


def _pillow_weights(length: int, resized: int) -> tuple[np.ndarray, np.ndarray]:
    """As src/libImaging/Resample.c of Pillow computes them: in double, then rounded half up to 22 bits."""
    scale = length / resized
    support = max(scale, 1.0)
    center = (np.arange(resized) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    last = np.minimum((center + support + 0.5).astype(np.int64), length)
    inputs = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(0.0, 1.0 - np.abs((inputs - center[:, None] + 0.5) * (1.0 / support)))
    weights[inputs >= last[:, None]] = 0.0
    total = np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as a loop adds them
    return first, np.floor(0.5 + weights / total * (1 << WEIGHT_BITS)).astype(np.int64)


def _dense(first: np.ndarray, weights: np.ndarray, length: int) -> np.ndarray:
    matrix = np.zeros((len(first), length + weights.shape[1]), np.int64)
    np.put_along_axis(matrix, first[:, None] + np.arange(weights.shape[1]), weights, axis=1)
    return matrix[:, :length]


def _sizes(number: int) -> list[tuple[int, int]]:
    """Pairs of sizes that the proof covers, from tiny to the largest, up and down."""
    rng = np.random.default_rng(number)
    pairs = [(4000, 341), (500, 341), (3000, 256), (8192, 512), (12000, 341), (8192, 2048), (1, 3000), (1448, 2)]
    while len(pairs) < number:
        length, resized = np.exp(rng.uniform(0, np.log([9000, 3000]))).astype(int).tolist()
        if pillow_is_exact(length, resized):
            pairs.append((length, resized))
    assert all(pillow_is_exact(*pair) for pair in pairs)
    return pairs


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_double_precision_gives_the_same_integers_within_the_bounds(number):
    for length, resized in _sizes(number):
        expected = _dense(*axis_weights(length, resized, range(resized)), length)
        assert np.array_equal(_dense(*_pillow_weights(length, resized), length), expected), (length, resized)


def test_the_comparison_would_see_one_weight_off_by_one():
    first, weights = axis_weights(500, 341, range(341))
    expected = _dense(first, weights, 500)
    weights[100, 1] += 1
    assert not np.array_equal(_dense(first, weights, 500), expected)


def test_what_the_proof_takes_for_granted_about_the_sums():
    """f / 2 <= w <= 5 f / 4 and n <= 4 w, in integers."""
    for length, resized in _sizes(300):
        first, weights = axis_weights(length, resized, range(resized))
        inputs = first[:, None] + np.arange(weights.shape[1])
        distance = np.abs((2 * inputs + 1) * resized - (2 * np.arange(resized)[:, None] + 1) * length)
        numerator = np.maximum(0, 2 * max(length, resized) - distance) * (inputs < length)
        total, unit = numerator.sum(axis=1), 2 * max(length, resized)  # w = total / unit
        f = max(length / resized, 1)
        assert (2 * total >= f * unit * (1 - 1e-12)).all() and (4 * total <= 5 * f * unit * (1 + 1e-12)).all()
        assert ((numerator > 0).sum(axis=1) * unit <= 4 * total).all()
        assert total.max() < 1 << 23  # no ties


def test_ties_are_rounded_up_and_not_left_to_pillow():
    """4096 px to one: of input 2, t = 4101 and s = 25,165,824, so that t 2^22 / s = 683.5."""
    assert axis_weights(4096, 1, range(1))[1][0, 2] == 684
    assert not pillow_is_exact(4096, 1)


def test_the_worked_example_of_the_specification():
    first, weights = axis_weights(5, 3, range(3))
    row = np.array([10, 20, 30, 40, 250], np.uint8)
    image = np.broadcast_to(row[None, :, None], (3, 5, 3))
    assert _dense(first, weights, 5).tolist()[1] == [0, 932068, 2330169, 932068, 0]
    assert resize_window(image, (3, 3), range(3), range(3))[:, :, 1].tolist() == [[14, 30, 160]] * 3


@pytest.mark.parametrize("height, width", [(40, 57), (57, 40), (9, 31), (100, 20), (3, 300), (1, 1), (1, 7)])
def test_both_ways_give_the_same_pixels(monkeypatch, height, width):
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    short = min(height, width)
    for shorter in (1, 2, 24, 33):
        size = (height * shorter // short, width * shorter // short)
        for rows, columns in ((range(size[0]), range(size[1])), (range(1), range(size[1] // 2, size[1]))):
            by_pillow = resize_window(image, size, rows, columns)
            with monkeypatch.context() as patch:
                patch.setattr("resnet_deploy.data.resize.pillow_is_exact", lambda length, resized: False)
                assert np.array_equal(resize_window(image, size, rows, columns), by_pillow)


def test_pillow_takes_photographs_and_numpy_the_rest(monkeypatch):
    for size in ((500, 341), (4000, 341), (8688, 512), (640, 1024)):
        assert pillow_is_exact(*size)
    for size in ((65_535, 33_000), (60_000, 256), (1, 3_000_000)):
        assert not pillow_is_exact(*size)
    monkeypatch.setattr(Image, "fromarray", None)
    image = np.full((1, 60_000, 3), 200, np.uint8)
    assert (resize_window(image, (256, 15_360_000), range(100, 102), range(7_000_000, 7_000_003)) == 200).all()
