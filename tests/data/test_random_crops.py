import math
import os
import signal

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.core.errors import ConfigError, DataError, WorkerError
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.random_crops import area_crop, crop_batches, scale_crop
from tests.data.conftest import NumberedSource, children

SCALE = {"crop_px": 10, "scale_px": (11, 20)}
AREA = {"crop_px": 10, "area": (0.08, 1.0)}


def batches(sizes, count=60):
    rng = np.random.default_rng(0)
    return [(rng.integers(0, count, size), rng.integers(0, 2**62, size)) for size in sizes]


def photograph(height, width, seed=0):
    """Smooth noise, as a photograph is."""
    shape = (height // 10, width // 10, 3)
    coarse = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("rule", [SCALE, AREA], ids=["scale", "area"])
def test_the_same_bytes_for_any_number_of_workers_and_from_the_plain_loop(rule):
    source, parts = NumberedSource(60), batches([40, 40, 3, 1, 1, 1, 1, 17, 64, 40])
    crop = scale_crop if rule is SCALE else area_crop
    wanted = [
        np.stack(
            [crop(source.image(int(i)), np.random.default_rng(int(s)), **rule) for i, s in zip(*part, strict=True)]
        )
        for part in parts
    ]
    for num_workers in (1, 2, 5):
        found = list(crop_batches(source, iter(parts), num_workers=num_workers, **rule))
        assert len(found) == len(parts)
        for (pixels, labels), pixels_wanted, (indices, _) in zip(found, wanted, parts, strict=True):
            assert np.array_equal(pixels, pixels_wanted) and np.array_equal(labels, source.labels[indices])


def test_batches_stay_whole_while_later_ones_are_made(monkeypatch):
    """A reader may keep what it got: nothing it holds is written again (more items than the block has slots)."""
    from resnet_deploy.data import random_crops

    monkeypatch.setattr(random_crops, "_IMAGES_AHEAD", 32)
    source, parts = NumberedSource(60), batches([16] * 30)
    kept = [(pixels, pixels.copy()) for pixels, _ in crop_batches(source, parts, num_workers=2, **SCALE)]
    assert all(np.array_equal(now, then) for now, then in kept)


def test_another_seed_is_another_crop():
    source = NumberedSource(60)
    (indices, seeds), *_ = batches([40])
    (first, _), (second, _) = crop_batches(source, [(indices, seeds), (indices, seeds + 1)], num_workers=2, **SCALE)
    assert (first != second).any(axis=(1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("size", [(300, 400), (500, 375), (90, 64), (64, 640)])
def test_a_scale_crop_is_a_window_of_the_resized_image(size):
    """Oracle: resize the whole image with Pillow, then cut. Both round once from fixed point, but Pillow rounds the
    horizontal pass to 8 bits from a window that starts at a fraction, so weights differ in their last bit: 2 levels.
    """
    image = photograph(*size)
    for seed in range(5):
        found = scale_crop(image, np.random.default_rng(seed), crop_px=56, scale_px=(64, 120))
        rng = np.random.default_rng(seed)
        short = min(size)
        side = int(rng.integers(64, 120, endpoint=True))
        height, width = size[0] * side // short, size[1] * side // short
        left = int(rng.integers(0, width - 56, endpoint=True))
        top = int(rng.integers(0, height - 56, endpoint=True))
        whole = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(found - whole[top : top + 56, left : left + 56]).max() <= 2
        beside = whole[top : top + 56, (left + 1) % (width - 56) :][:, :56]
        assert np.abs(found - beside).max() > 2  # a window one pixel away would be noticed


def test_scales_and_places_fill_their_range():
    """4,000 draws of a gradient image show the side and the place that were drawn."""
    ramp = np.zeros((100, 150, 3), dtype=np.uint8)
    ramp[..., 0] = np.linspace(0, 250, 150, dtype=np.uint8)
    ramp[..., 1] = np.linspace(0, 250, 100, dtype=np.uint8)[:, None]
    rng = np.random.default_rng(0)
    crops = np.stack([scale_crop(ramp, rng, crop_px=20, scale_px=(25, 50)) for _ in range(4000)]).astype(float)
    assert crops.shape == (4000, 20, 20, 3)
    # The red span of a crop is 250 levels x 20 px of a width of 1.5 x side px: 133 at side 25, 67 at 50.
    span = crops[:, 0, -1, 0] - crops[:, 0, 0, 0]
    assert 60 < span.min() < 72 and 118 < span.max() < 138
    assert crops[:, 0, 0, 1].min() < 8 and crops[:, -1, -1, 1].max() > 242  # from the very top to the very bottom
    # Of a uniform side the mean is 37.5; the mean of 1/side over 25..50 is 0.02749, so of the span 91.6 +- 1.
    assert span.mean() == pytest.approx(250 * 19 / 1.5 * np.mean(1 / np.arange(25, 51)), rel=0.03)


def test_area_windows_have_the_area_and_aspect_they_should():
    from resnet_deploy.data.random_crops import _area_window

    rng = np.random.default_rng(0)
    windows = [_area_window(450, 450, rng, (0.08, 1.0)) for _ in range(10_000)]
    sizes = np.array([(right - left, bottom - top) for left, top, right, bottom in windows])
    assert all(0 <= left and 0 <= top and right <= 450 and bottom <= 450 for left, top, right, bottom in windows)
    share, aspect = sizes.prod(axis=1) / 450**2, sizes[:, 0] / sizes[:, 1]
    # Sides are rounded to a pixel of at least 110 (0.08 of the area at aspect 3/4): half a percent of each.
    assert share.min() > 0.079 and share.max() <= 1 and share.mean() == pytest.approx(0.5, abs=0.05)
    assert 0.745 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.34
    # Uniform on a log scale within +-0.288, symmetric in a square: 10,000 draws average to 0 +- 0.0017.
    assert abs(np.log(aspect).mean()) < 0.01


@pytest.mark.parametrize("height, width, wanted", [(100, 10, (10, 13)), (10, 100, (13, 10))])
def test_the_fallback_is_the_largest_central_window(height, width, wanted):
    """torchvision's rule: no tenth of such a strip has an aspect within 3/4 to 4/3."""
    from resnet_deploy.data.random_crops import _area_window

    left, top, right, bottom = _area_window(height, width, np.random.default_rng(0), (0.9, 1.0))
    assert (right - left, bottom - top) == wanted
    assert (left, top) == ((width - wanted[0]) // 2, (height - wanted[1]) // 2)


def test_a_bad_image_gives_way_to_the_next_good_one_and_counts_once():
    source = NumberedSource(60, broken=(4, 5, 59))
    indices = np.array([3, 4, 5, 59, 4] * 8)
    seeds = np.arange(40)
    for num_workers in (1, 3):
        bad = BadImages(3)
        ((pixels, labels), again) = crop_batches(
            source, [(indices, seeds)] * 2, bad=bad, num_workers=num_workers, **SCALE
        )
        used = np.array([3, 6, 6, 0, 6] * 8)
        assert np.array_equal(labels, source.labels[used])
        for row in range(5):
            rng = np.random.default_rng(row)
            assert np.array_equal(pixels[row], scale_crop(source.image(int(used[row])), rng, **SCALE))
        assert np.array_equal(again[0], pixels)
        assert [b.index for b in bad] == [4, 5, 59]


@pytest.mark.parametrize("limit, message", [(0, r"^number/\d+\.png"), (1, "images can not be used so far, 1 were")])
def test_too_many_bad_images_end_the_work(limit, message):
    source = NumberedSource(60, broken=range(60))  # all: an endless search for a good one would hang here
    with pytest.raises(DataError, match=message):
        list(crop_batches(source, batches([20, 20]), bad=BadImages(limit), num_workers=2, **SCALE))
    assert not children()


def test_a_killed_worker_gives_one_error():
    parent = os.getpid()

    class Deadly(NumberedSource):
        def image(self, index):
            if index == 30 and os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().image(index)

    with pytest.raises(WorkerError, match="killed or crashed"):
        list(crop_batches(Deadly(60), batches([40] * 20), num_workers=2, **SCALE))


@pytest.mark.parametrize(
    "rule, message",
    [
        ({"crop_px": 10}, "scale_px None and area None: exactly one"),
        ({"crop_px": 10, "scale_px": (11, 20), "area": (0.1, 1)}, "exactly one"),
        ({"crop_px": 10, "scale_px": (9, 20)}, r"\(9, 20\) px must be a range from at least the crop, 10 px"),
        ({"crop_px": 10, "area": (0.0, 1.0)}, r"\(0\.0, 1\.0\) must be a range above 0"),
    ],
)
def test_impossible_rules_are_refused_at_once(rule, message):
    with pytest.raises(ConfigError, match=message):
        crop_batches(NumberedSource(3), [], **rule)


def test_no_random_number_of_torch_is_used_up():
    """Training resumes bit for bit only if loading leaves the global generators alone."""
    import torch

    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(crop_batches(NumberedSource(9), batches([5], count=9), num_workers=1, **SCALE))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])
    assert math.isfinite(before[1].sum())
