from __future__ import annotations

import numpy as np

from resnet_deploy.data.crops import decode_crops
from resnet_deploy.data.digits import DIGITS_PREPROCESS
from resnet_deploy.data.preprocess import crop_pixels
from resnet_deploy.data.source import open_images, stratified_sample


def test_crops_stand_at_their_images_places_whatever_the_threads() -> None:
    source = stratified_sample(open_images("digits", split="train"), 70, seed=0)
    crops = decode_crops(source, DIGITS_PREPROCESS, num_threads=3)
    assert crops.shape == (70, 32, 32, 3) and crops.dtype == np.uint8
    for place in (0, 33, 69):
        alone = crop_pixels(source.image(place), DIGITS_PREPROCESS, name="alone")
        assert np.array_equal(crops[place], alone)
