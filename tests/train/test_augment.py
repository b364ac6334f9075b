from __future__ import annotations

import math

import numpy as np
import torch

from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.train.augment import augment, crop_and_flip, draw_augmentation, normalize_batch, rotate_and_scale
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.sampler import step_generator


def _pixels(count: int = 7, height: int = 12, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def test_crop_and_flip_equal_slicing_one_image_at_a_time():
    # Oracle: numpy's pad, slice and reversed slice, image by image.
    pixels, pad = _pixels(), 3
    offsets = torch.randint(0, 2 * pad + 1, (7, 2), generator=torch.Generator().manual_seed(2))
    mirrored = torch.tensor([True, False, True, True, False, False, True])
    got = crop_and_flip(pixels, offsets, mirrored, pad=pad)
    for image, (top, left), mirror, result in zip(pixels.numpy(), offsets.tolist(), mirrored, got.numpy(), strict=True):
        bordered = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        expected = bordered[top : top + 12, left : left + 10]
        np.testing.assert_array_equal(result, expected[:, ::-1] if mirror else expected)


def test_offset_of_the_padding_is_the_image_itself():
    pixels = _pixels()
    assert torch.equal(crop_and_flip(pixels, torch.full((7, 2), 4), None, pad=4), pixels)


def test_rotation_by_half_a_turn_and_by_a_quarter():
    wide = torch.rand(2, 3, 6, 10)
    turned = rotate_and_scale(wide, torch.full((2,), math.pi), torch.ones(2))
    # float32 rounding of cos, sin and the sampling weights, on values up to 1: a few 1e-6
    torch.testing.assert_close(turned, wide.flip(2, 3), atol=1e-5, rtol=0)
    square = torch.rand(2, 3, 8, 8)
    turned = rotate_and_scale(square, torch.full((2,), math.pi / 2), torch.ones(2))
    torch.testing.assert_close(turned, torch.rot90(square, 1, (2, 3)), atol=1e-5, rtol=0)


def test_rotation_keeps_the_aspect_of_wide_images():
    # A disc stays a disc: its extent after a quarter turn is the same in pixels, not stretched with the frame.
    y, x = torch.meshgrid(torch.arange(21) - 10.0, torch.arange(41) - 20.0, indexing="ij")
    disc = ((x**2 + y**2) < 36).float().expand(1, 3, 21, 41)
    turned = rotate_and_scale(disc, torch.tensor([math.pi / 2]), torch.ones(1))
    torch.testing.assert_close(turned, disc, atol=1e-4, rtol=0)


def test_scale_enlarges():
    image = torch.zeros(1, 3, 21, 21)
    image[:, :, 8:13, 8:13] = 1
    assert rotate_and_scale(image, torch.zeros(1), torch.tensor([1.5])).sum() > 1.8 * image.sum()
    assert rotate_and_scale(image, torch.zeros(1), torch.tensor([0.7])).sum() < 0.7 * image.sum()


def test_normalisation_has_the_bits_of_the_one_preprocessing():
    pixels = _pixels()
    got = normalize_batch(pixels.permute(0, 3, 1, 2).float(), DIGITS_PREPROCESS)
    np.testing.assert_array_equal(got.numpy(), normalize(pixels.numpy(), DIGITS_PREPROCESS))
    assert got.is_contiguous(memory_format=torch.channels_last)


def _augmented(pixels: torch.Tensor, recipe: Recipe, *, step: int = 0) -> torch.Tensor:
    draws = draw_augmentation(recipe, len(pixels), step_generator(0, step))
    return augment(pixels, draws, DIGITS_PREPROCESS, pad=recipe.crop_padding_px)


def test_without_augmentation_the_batch_is_only_normalised():
    none = {"crop_padding_px": 0, "rotate_degrees": 0, "scale_fraction": 0}
    recipe, pixels = override_recipe(load_recipe("fast-digits"), none), _pixels()
    np.testing.assert_array_equal(_augmented(pixels, recipe).numpy(), normalize(pixels.numpy(), DIGITS_PREPROCESS))


def test_the_step_decides_and_images_are_changed():
    recipe, pixels = load_recipe("fast-digits"), _pixels(height=32, width=32)
    first, again, other = (_augmented(pixels, recipe, step=step) for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_part_of_the_batch_is_changed_as_it_is_in_the_whole():
    """What makes several processes train on the images that one would."""
    recipe = override_recipe(load_recipe("fast-digits"), {"flip": True, "pca_colour_std": 0.1})
    pixels = _pixels(count=12, height=32, width=32)
    draws = draw_augmentation(recipe, 12, step_generator(0, 0))
    whole = augment(pixels, draws, DIGITS_PREPROCESS, pad=recipe.crop_padding_px)
    part = slice(4, 9)
    got = augment(pixels[part], draws.part(part), DIGITS_PREPROCESS, pad=recipe.crop_padding_px)
    assert torch.equal(got, whole[part])


def test_colour_moves_every_pixel_of_an_image_alike():
    recipe = override_recipe(load_recipe("fast-cifar"), {"crop_padding_px": 0, "flip": False, "pca_colour_std": 0.1})
    pixels = _pixels(count=3)
    moved = _augmented(pixels, recipe) - torch.from_numpy(normalize(pixels.numpy(), DIGITS_PREPROCESS))
    spread = moved.amax((2, 3)) - moved.amin((2, 3))
    # float32 rounding of 255-scaled values divided by 255 and by the deviation of 0.35: a few 1e-6
    assert float(spread.max()) < 1e-5
    assert float(moved.abs().mean()) > 1e-3
    assert not torch.allclose(moved[0, :, 0, 0], moved[1, :, 0, 0])


def test_about_half_of_the_images_are_mirrored():
    recipe = override_recipe(load_recipe("fast-cifar"), {"crop_padding_px": 0})
    pixels = _pixels(count=400, height=4, width=4)
    got = _augmented(pixels, recipe).numpy()
    plain = normalize(pixels.numpy(), DIGITS_PREPROCESS)
    same = (got == plain).all((1, 2, 3))
    assert (got[~same] == plain[~same][..., ::-1]).all()
    # binomial(400, 1/2): mean 200, deviation 10; six deviations on either side
    assert 140 < same.sum() < 260
