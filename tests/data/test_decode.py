"""Image files of every kind become [H, W, 3] uint8, or are refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import decode_image


def _bytes(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def test_a_grey_image_has_three_equal_channels() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    decoded = decode_image(_bytes(Image.fromarray(grey)), name="a.png")
    assert decoded.shape == (8, 8, 3) and decoded.dtype == np.uint8
    assert all(np.array_equal(decoded[..., channel], grey) for channel in range(3))


def test_of_sixteen_bits_the_upper_eight_are_kept() -> None:
    """Pillow's convert("RGB") clips instead: three quarters of this ramp would be white."""
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    decoded = decode_image(_bytes(Image.fromarray(deep)), name="a.png")
    assert np.array_equal(decoded[..., 1], (deep // 256).astype(np.uint8)) and decoded.shape == (8, 8, 3)
    assert (decoded == 255).mean() < 0.1


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (np.zeros((8, 8), np.float32), "a.tiff: can not be decoded .its pixels are floats"),
        (np.full((8, 8), 1 << 20, np.int32), "a.tiff: can not be decoded .its pixels go from 1048576 to 1048576"),
    ],
)
def test_more_bits_are_refused_by_name(pixels: np.ndarray, match: str) -> None:
    with pytest.raises(DataError, match=match):
        decode_image(_bytes(Image.fromarray(pixels), "TIFF"), name="a.tiff")


def test_transparency_is_dropped_and_a_palette_is_looked_up() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    assert np.array_equal(decode_image(_bytes(Image.fromarray(pixels)), name="a.png"), pixels[..., :3])
    palette = Image.fromarray(pixels[..., :3]).quantize(4)
    assert np.array_equal(decode_image(_bytes(palette), name="a.png"), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_a_file_that_is_cut_off_is_named(cut: int) -> None:
    data = _bytes(Image.fromarray(np.zeros((32, 32, 3), np.uint8)))[:cut]
    with pytest.raises(DataError, match=rf"a\.png: can not be decoded \(.*; {cut} bytes\)"):
        decode_image(data, name="a.png")
