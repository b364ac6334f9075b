"""Each mistake is the one it is called, and is one: all else is as in the right pixel path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.preprocess import crop_pixels, normalize, resize_shorter
from resnet_deploy.data.wrong_pixels import MISTAKES

SPEC = Preprocess(
    height_px=20, width_px=24, resize_shorter_px=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
BY_NAME = {mistake.name: mistake for mistake in MISTAKES}
_CUTS = [mistake.name for mistake in MISTAKES if mistake.cut]
_NUMBERS = [mistake.name for mistake in MISTAKES if mistake.normalize]


def _photo(height: int = 90, width: int = 120) -> np.ndarray:
    """Noise over a slope: no two neighbours are alike, no channel is another, nothing is symmetric."""
    noise = np.random.default_rng(0).integers(0, 128, (height, width, 3))
    slope = np.linspace(0, 127, width)[None, :, None] * [1.0, 0.7, 0.4]
    return (noise + slope).astype(np.uint8)


def _cut(name: str, image: np.ndarray, spec: Preprocess = SPEC) -> np.ndarray:
    return BY_NAME[name].cut(image, spec)


def test_names_are_distinct_and_each_mistake_is_one_step() -> None:
    assert len(BY_NAME) == len(MISTAKES) and sorted(_CUTS + _NUMBERS) == sorted(BY_NAME)


@pytest.mark.parametrize("name", _CUTS)
def test_a_wrong_cut_has_the_right_form_and_other_pixels(name: str) -> None:
    image = _photo()
    wrong, right = _cut(name, image), crop_pixels(image, SPEC)
    assert wrong.shape == right.shape and wrong.dtype == np.uint8
    assert not np.array_equal(wrong, right)


@pytest.mark.parametrize("name", _CUTS)
def test_an_image_of_the_right_size_can_not_be_cut_wrongly(name: str) -> None:
    spec = replace(SPEC, height_px=32, width_px=32)
    image = _photo(32, 32)
    assert np.array_equal(_cut(name, image, spec), crop_pixels(image, spec))
    unresized = replace(spec, resize_shorter_px=None)
    assert np.array_equal(_cut(name, image, unresized), crop_pixels(image, unresized))


@pytest.mark.parametrize("name", _NUMBERS)
def test_wrong_numbers_have_the_right_form_and_other_values(name: str) -> None:
    pixels = np.stack([_photo(20, 24), _photo(20, 24)[::-1]])
    wrong, right = BY_NAME[name].normalize(pixels, SPEC), normalize(pixels, SPEC)
    assert wrong.shape == right.shape == (2, 3, 20, 24) and wrong.dtype == np.float32 and wrong.flags.c_contiguous
    assert (np.abs(wrong - right) > 1e-3).mean() > 0.6  # BGR leaves green as it is


@pytest.mark.parametrize("size", [(90, 120), (120, 90), (20, 41), (33, 32)])
def test_no_antialias_is_bilinear_between_four_pixels(size: tuple[int, int]) -> None:
    """Oracle: PyTorch's interpolate without antialias. Both round to 8 bits, so sums that end at .5 differ by 1."""
    image = _photo(*size)
    short = min(size)
    new = (size[0] * 32 // short, size[1] * 32 // short)
    floats = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(floats, size=new, mode="bilinear", align_corners=False, antialias=False)
    expected = crop_pixels(resized[0].permute(1, 2, 0).round().byte().numpy(), replace(SPEC, resize_shorter_px=None))
    found = _cut("no antialias", image)
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found == expected).mean() > 0.99


@pytest.mark.parametrize(
    "name, filter_", [("nearest", Image.Resampling.NEAREST), ("bicubic", Image.Resampling.BICUBIC)]
)
def test_another_filter_changes_nothing_but_the_filter(name: str, filter_: Image.Resampling) -> None:
    image = _photo()
    resized = np.asarray(Image.fromarray(image).resize((42, 32), filter_))
    assert np.array_equal(_cut(name, image), crop_pixels(resized, replace(SPEC, resize_shorter_px=None)))


def test_squash_keeps_all_four_corners() -> None:
    image = np.zeros((90, 120, 3), np.uint8)
    image[:9, :12] = image[-9:, :12] = image[:9, -12:] = image[-9:, -12:] = 255
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    assert all(_cut("squash", image)[corner].min() == 255 for corner in corners)
    assert all(crop_pixels(image, SPEC)[corner].max() == 0 for corner in corners)


def test_no_margin_and_top_left_are_other_windows_of_the_right_resize() -> None:
    image = _photo()
    assert np.array_equal(_cut("top-left crop", image), resize_shorter(image, 32)[:20, :24])
    assert np.array_equal(_cut("no margin", image), crop_pixels(image, replace(SPEC, resize_shorter_px=24)))


def test_a_wrong_crop_of_a_small_image_is_refused_like_the_right_one() -> None:
    with pytest.raises(DataError, match="10x10 px"):
        _cut("top-left crop", _photo(10, 10), replace(SPEC, resize_shorter_px=None))


def test_the_numbers_are_what_the_mistake_says() -> None:
    pixels = np.full((1, 20, 24, 3), (10, 20, 30), np.uint8)
    numbers = {name: BY_NAME[name].normalize(pixels, SPEC)[0, :, 0, 0] for name in _NUMBERS}
    mean, std = np.array(SPEC.mean), np.array(SPEC.std)
    expected = {
        "BGR": (np.array([30, 20, 10]) / 255 - mean) / std,
        "no /255": (np.array([10, 20, 30]) - mean) / std,
        "no mean/std": np.array([10, 20, 30]) / 255,
        "-1 .. 1": np.array([10, 20, 30]) / 127.5 - 1,
        "other mean/std": (np.array([10, 20, 30]) / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616],
    }
    for name, values in expected.items():
        assert numbers[name] == pytest.approx(values, rel=1e-5), name
    other = BY_NAME["other mean/std"].normalize(pixels, replace(SPEC, mean=(0.5, 0.5, 0.5)))[0, :, 0, 0]
    assert other == pytest.approx((np.array([10, 20, 30]) / 255 - mean) / std, rel=1e-5)


def test_channels_last_are_the_same_numbers_in_the_order_of_their_pixels() -> None:
    pixels = _photo(20, 24)[None]
    found = BY_NAME["channels last"].normalize(pixels, SPEC)
    right = normalize(pixels, SPEC)
    assert found.ravel()[:4].tolist() == [*right[0, :, 0, 0], right[0, 0, 0, 1]]
    assert np.array_equal(np.sort(found.ravel()), np.sort(right.ravel()))
