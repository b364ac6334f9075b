import numpy as np
import pytest

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data import mean_image
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.mean_image import mean_image_of_cache, mean_image_of_source
from resnet_deploy.data.pixel_cache import make_pixel_cache
from resnet_deploy.data.preprocess import crop_pixels
from tests.data.conftest import NumberedSource

SPEC = Preprocess(height_px=6, width_px=8, resize_shorter_px=9, mean=(0.5,) * 3, std=(0.25,) * 3)


def plain_mean(source, indices):
    return np.mean([crop_pixels(source.image(int(i)), SPEC).astype(np.float64) for i in indices], axis=0)


def test_the_mean_of_a_cache_is_exact_for_any_chunk(tmp_path, monkeypatch):
    source = NumberedSource(101, broken=(4,))
    cache = make_pixel_cache(source, SPEC, tmp_path / "a.pixels", skip_bad=1)
    monkeypatch.setattr(mean_image, "_CHUNK_BYTES", 7 * 6 * 8 * 3)
    in_chunks = mean_image_of_cache(cache)
    # 100 integers below 256 sum exactly; numpy divides once, as the plain mean does.
    assert in_chunks.shape == (6, 8, 3) and np.array_equal(in_chunks, plain_mean(source, cache.kept))


@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_mean_of_a_sample_is_that_of_its_images(num_workers):
    source = NumberedSource(90, broken=(0,))
    whole = mean_image_of_source(source, SPEC, count=90, num_workers=num_workers, bad=BadImages(1))
    assert np.array_equal(whole, plain_mean(source, range(1, 90)))
    part = mean_image_of_source(source, SPEC, count=40, seed=3, num_workers=num_workers, bad=BadImages(1))
    assert not np.array_equal(part, whole)


def test_nothing_to_take_a_mean_of():
    with pytest.raises(DataError, match=r"number/\d\.png: can not be decoded"):
        mean_image_of_source(NumberedSource(3, broken=(0, 1, 2)), SPEC, count=3)
    with pytest.raises(DataError, match="3 numbers: no image can be used"):
        mean_image_of_source(NumberedSource(3, broken=(0, 1, 2)), SPEC, count=3, bad=BadImages(3))
