import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.preprocess import crop_pixels, normalize, preprocess
from resnet_deploy.data.source import open_images
from resnet_deploy.nets.catalogue import IMAGENET_PREPROCESS, find_net
from tests.reference.pillow_resize import resize


def spec(size, resize_shorter_px=None):
    return Preprocess(
        height_px=size, width_px=size, resize_shorter_px=resize_shorter_px, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
    )


@pytest.mark.parametrize("height, width", [(40, 57), (57, 40), (16, 16), (9, 31), (100, 20), (33, 200)])
def test_resize_is_the_fixed_point_rule_bit_for_bit(height, width):
    """Portraits taller than 2:1 are where Pillow 13 would choose the other order of passes."""
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    short = min(height, width)
    expected = resize(image, height=height * 24 // short, width=width * 24 // short)
    top, left = round((expected.shape[0] - 20) / 2), round((expected.shape[1] - 20) / 2)
    assert np.array_equal(crop_pixels(image, spec(20, 24)), expected[top : top + 20, left : left + 20])


def test_the_planted_fault_is_seen():
    """The comparison above would notice a resize without antialiasing."""
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    assert not np.array_equal(crop_pixels(image, spec(20, 20)), image[::4, ::4])


def test_an_image_of_the_right_size_passes_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(crop_pixels(image, find_net("resnet20").preprocess), image)


def test_normalize_by_hand():
    x = normalize(np.array([[[255, 0, 51]]], dtype=np.uint8), spec(1))
    assert x.shape == (3, 1, 1) and x.dtype == np.float32
    # (1 - 0.5) / 0.2, (0 - 0.4) / 0.25, (0.2 - 0.3) / 0.5; float32 keeps about seven digits
    assert x.ravel() == pytest.approx([2.5, -1.6, -0.2], rel=1e-6)


def test_too_small_an_image_is_named():
    with pytest.raises(DataError, match=r"a\.png is 3x2 px, the network's input 4x4 px"):
        preprocess(np.zeros((2, 3, 3), np.uint8), spec(4), name="a.png")


def test_batches_hold_every_image_once_in_order():
    source = open_images("digits", split="val")
    rule = spec(8)
    batches = list(input_batches(source, rule, batch_size=100, num_threads=3))
    assert [len(b.labels) for b in batches] == [100] * 5 + [99]
    assert np.array_equal(np.concatenate([b.labels for b in batches]), source.labels)
    whole = np.concatenate([b.images for b in batches])
    assert all(np.array_equal(whole[i], preprocess(source.image(i), rule)) for i in range(len(source)))


def test_a_bad_image_in_the_middle_is_named(tmp_path):
    from PIL import Image

    for i in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    (tmp_path / "4.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"4\.png: can not be decoded"):
        list(input_batches(open_images(str(tmp_path)), spec(8), batch_size=2))


def test_photographs_against_the_oracle(shared_data):
    source = open_images(str(shared_data / "photos"))
    for index in range(0, len(source), 10):
        image = source.image(index)
        height, width = image.shape[:2]
        short = min(height, width)
        expected = resize(image, height=height * 256 // short, width=width * 256 // short)
        top, left = round((expected.shape[0] - 224) / 2), round((expected.shape[1] - 224) / 2)
        got = crop_pixels(image, IMAGENET_PREPROCESS)
        assert np.array_equal(got, expected[top : top + 224, left : left + 224]), source.name(index)
