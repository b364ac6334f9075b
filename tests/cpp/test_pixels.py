"""Python and C++ give the same bytes: decoded, cropped and normalised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode import decode_image
from resnet_deploy.data.preprocess import crop_pixels, preprocess
from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS
from tests.cpp.conftest import REPOSITORY
from tests.cpp.pixels_library import BGR, BGRA, GRAY, RGBA, PixelsLibrary, RefusedError

GOLDEN = REPOSITORY / "cpp" / "tests" / "pixels" / "golden"
BAD_IMAGE = 12


@pytest.fixture(scope="module")
def library(cpp_build: Path) -> PixelsLibrary:
    return PixelsLibrary(cpp_build / "libresnet_deploy.so")


def test_every_golden_image_is_decoded_alike(library):
    for row in json.loads((GOLDEN / "golden.json").read_text())["images"]:
        data = (GOLDEN / row["file"]).read_bytes()
        for turn in (False, True):
            expected = decode_image(data, name=row["file"], apply_orientation=turn)
            assert np.array_equal(library.decode(data, apply_orientation=turn), expected), row["file"]


def test_all_photographs_from_bytes_to_tensor(library, shared_data):
    files = sorted((shared_data / "photos").iterdir())
    assert len(files) == 100
    for file in files:
        data = file.read_bytes()
        pixels = decode_image(data, name=file.name)
        assert np.array_equal(library.decode(data), pixels), file.name
        crop = crop_pixels(pixels, IMAGENET_PREPROCESS)
        assert np.array_equal(library.crop_pixels(pixels, IMAGENET_PREPROCESS), crop), file.name
        expected = preprocess(pixels, IMAGENET_PREPROCESS).tobytes()
        assert library.preprocess_file(data, IMAGENET_PREPROCESS).tobytes() == expected, file.name


def _random_case(rng: np.random.Generator) -> tuple[np.ndarray, Preprocess]:
    """Sides of 1 to 1500 px, often far apart, at most a megapixel; noise, gradients, or black and white only."""
    while True:
        height, width = np.exp(rng.uniform(0, np.log(1500.5), 2)).astype(int)
        shorter = int(np.exp(rng.uniform(0, np.log(300))))
        if height * width < 1 << 20 and max(height, width) * shorter // min(height, width) < 100_000:
            break
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    kind = rng.integers(3)
    if kind == 1:
        image = np.sort(image, axis=int(rng.integers(2)))
    elif kind == 2:
        image = (image & 1) * np.uint8(255)
    crop = [int(rng.integers(1, shorter + 1)) for _ in range(2)]
    resize = shorter if rng.integers(10) else None
    if resize is None:
        crop = [int(rng.integers(1, side + 1)) for side in (height, width)]
    mean, std = rng.uniform(0, 1, 3).tolist(), rng.uniform(0.05, 2, 3).tolist()
    return image, Preprocess(
        height_px=crop[0], width_px=crop[1], resize_shorter_px=resize, mean=tuple(mean), std=tuple(std)
    )


@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_sizes_and_contents(library, number):
    rng = np.random.default_rng(number)
    for index in range(number):
        image, spec = _random_case(rng)
        expected = preprocess(image, spec)
        assert library.preprocess(image, spec).tobytes() == expected.tobytes(), (index, image.shape, spec)


@pytest.mark.parametrize("shape", [(1, 20_000, 3), (20_000, 1, 3), (3, 65_535, 3), (2, 9_000, 3)])
def test_very_long_images_beyond_what_pillow_is_proven_for(library, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    spec = Preprocess(height_px=50, width_px=60, resize_shorter_px=64, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert library.preprocess(image, spec).tobytes() == preprocess(image, spec).tobytes()


def test_a_planted_fault_is_seen(library):
    """One pixel off by one, or a standard deviation off by its last bit, makes other bytes."""
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    spec = Preprocess(height_px=20, width_px=20, resize_shorter_px=60, mean=(0.5,) * 3, std=(0.2,) * 3)
    expected = preprocess(image, spec).tobytes()
    other = image.copy()
    other[20, 25, 1] += 1
    assert library.preprocess(other, spec).tobytes() != expected
    nearly = float(np.nextafter(np.float32(0.2), np.float32(1)))
    wrong = Preprocess(height_px=20, width_px=20, resize_shorter_px=60, mean=(0.5,) * 3, std=(nearly, 0.2, 0.2))
    assert library.preprocess(image, wrong).tobytes() != expected


def test_formats_and_rows_that_lie_apart(library):
    roomy = np.random.default_rng(0).integers(0, 256, (45, 70, 4), dtype=np.uint8)
    rgba = roomy[:, :61]
    spec = Preprocess(height_px=20, width_px=20, resize_shorter_px=30, mean=(0.5,) * 3, std=(0.2,) * 3)
    expected = crop_pixels(np.ascontiguousarray(rgba[..., :3]), spec)
    assert np.array_equal(library.crop_pixels(rgba, spec, RGBA), expected)
    bgra = np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])
    assert np.array_equal(library.crop_pixels(bgra, spec, BGRA), expected)
    assert np.array_equal(library.crop_pixels(np.ascontiguousarray(bgra[..., :3]), spec, BGR), expected)
    gray = np.ascontiguousarray(rgba[..., :1])
    expected = crop_pixels(np.repeat(gray, 3, axis=2), spec)
    assert np.array_equal(library.crop_pixels(gray, spec, GRAY), expected)


def test_both_refuse_the_same_files(library):
    for name in json.loads((GOLDEN / "golden.json").read_text())["refused"]:
        data = (GOLDEN / name).read_bytes()
        with pytest.raises(RefusedError, match="image can not be decoded") as refused:
            library.decode(data)
        assert refused.value.status == BAD_IMAGE
        if not name.endswith(".gif"):  # of Python's further formats
            with pytest.raises(DataError, match="can not be decoded"):
                decode_image(data, name=name)


def test_both_refuse_what_the_contract_can_not_take(library):
    unresized = Preprocess(height_px=9, width_px=9, resize_shorter_px=None, mean=(0,) * 3, std=(1,) * 3)
    small, long = np.zeros((8, 9, 3), np.uint8), np.zeros((1, 65_536, 3), np.uint8)
    for image, match in ((small, "9x8 px, the network's input 9x9 px"), (long, "65536x1 px; both sides must be")):
        with pytest.raises(RefusedError, match=match) as refused:
            library.preprocess(image, unresized)
        assert refused.value.status == BAD_IMAGE
        with pytest.raises(DataError, match=match):
            preprocess(image, unresized)


def test_a_damaged_file_is_refused_by_both_or_becomes_the_same_pixels(library):
    rng = np.random.default_rng(5)
    num_refused = 0
    for name in ("rgb8.png", "gray16-interlaced.png", "palette4.png", "420.jpg", "444-progressive.jpg", "cmyk.jpg"):
        whole = (GOLDEN / name).read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            place = rng.integers(len(data))
            data[place] = rng.integers(256)
            got, expected = _pixels_or_none(library.decode, bytes(data)), _pixels_or_none(_decoded, bytes(data))
            assert np.array_equal(got, expected), f"{name}: byte {place} is {data[place]}"
            num_refused += got is None
    assert 300 < num_refused < 800  # a good part is refused, and a good part is compared


def _decoded(data: bytes) -> np.ndarray:
    return decode_image(data, name="damaged")


def _pixels_or_none(decode: Callable[[bytes], np.ndarray], data: bytes) -> np.ndarray | None:
    try:
        return decode(data)
    except (RefusedError, DataError):
        return None
