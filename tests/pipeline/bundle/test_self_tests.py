"""The self-test of a bundle lets rounding pass, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.specs import Precision, Preprocess
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.engine.open import open_runner
from resnet_deploy.engine.sanity.limits import DISTINCT, rounding_limit
from resnet_deploy.pipeline.bundle.self_tests import Setting, golden_of, measure_self_tests
from resnet_deploy.pipeline.bundle.sources import ModelSource
from resnet_deploy.ship.golden import golden_pixels, golden_size
from tests.ship.bundles import PIXELS, write_onnx

MEAN, STD = np.float32(PIXELS.mean), np.float32(PIXELS.std)
FAULTS = {
    "BGR": lambda crop: normalize(crop[..., ::-1], PIXELS),
    "channels rolled": lambda crop: normalize(np.roll(crop, 1, axis=-1), PIXELS),
    "mean and std in BGR order": lambda crop: to_chw((unit(crop) - MEAN[::-1]) / STD[::-1]),
    "no normalisation": lambda crop: to_chw(unit(crop)),
    "0 to 255": lambda crop: to_chw(crop.astype(np.float32)),
    "-1 to 1": lambda crop: to_chw(unit(crop) * 2 - 1),
    "no std": lambda crop: to_chw(unit(crop) - MEAN),
    "height, width, channel": lambda crop: normalize(crop, PIXELS).transpose(1, 2, 0).reshape(3, 16, 16),
    "another image": lambda crop: normalize(golden_pixels(16, 16, seed=5), PIXELS),
    "zeros": lambda crop: np.zeros((3, 16, 16), np.float32),
}


def unit(crop):
    return crop.astype(np.float32) / np.float32(255)


def to_chw(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32)


def measured(folder, *, precision=Precision.FP32, tf32=False, seed=0, golden=None):
    file = write_onnx(folder / f"{precision}-{seed}.onnx", seed=seed, precision=precision)
    source = ModelSource(file=file, manifest=read_manifest(file), onnx=file)
    image, (test,) = measure_self_tests([Setting(source=source, tf32=tf32)], PIXELS, golden=golden)
    return file, image, test


def answer(file, feed):
    with open_runner(file, backend="onnxruntime-cpu") as runner:
        return runner.run({"images": feed[None]})["logits"][0]


def passes(test, values) -> bool:
    return bool(np.abs(values - np.array(test.test.expected)).max() <= test.test.max_abs_error)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_pixel_path_fails(tmp_path, precision, fault):
    file, image, test = measured(tmp_path, precision=precision)
    assert passes(test, answer(file, normalize(image.crop, PIXELS)))
    assert not passes(test, answer(file, FAULTS[fault](image.crop)))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_another_net_fails(tmp_path, precision):
    _, image, test = measured(tmp_path, precision=precision)
    other, _, _ = measured(tmp_path, precision=precision, seed=1)
    assert not passes(test, answer(other, normalize(image.crop, PIXELS)))


def test_rounding_passes(tmp_path):
    """FP16 inputs are the error that an FP16 engine makes at the very least."""
    file, image, test = measured(tmp_path, precision=Precision.FP16)
    rounded = normalize(image.crop, PIXELS).astype(np.float16).astype(np.float32)
    assert passes(test, answer(file, rounded))
    _, _, strict = measured(tmp_path)
    assert not passes(strict, answer(file, rounded * np.float32(1.01)))


def test_openvino_passes_the_self_test_of_onnxruntime(tmp_path):
    pytest.importorskip("openvino")
    file, image, test = measured(tmp_path)
    with open_runner(file, backend="openvino") as runner:
        values = runner.run({"images": normalize(image.crop, PIXELS)[None]})["logits"][0]
    assert passes(test, values)


def test_the_limit_is_rounding_or_a_third_of_the_nearest_fault(tmp_path):
    _, _, test = measured(tmp_path, precision=Precision.INT8)
    bound = rounding_limit(Precision.INT8) * max(map(abs, test.test.expected))
    assert bound / 16 <= test.test.max_abs_error <= bound
    assert test.fault_distance >= DISTINCT * (1 - 1e-9) and not test.is_blind


def test_a_grey_image_is_told_to_be_blind(tmp_path):
    """It has no order of channels, and no other image is nearer than a grey one of another level."""
    grey = np.full((40, 60, 3), 128, np.uint8)
    file, image, test = measured(tmp_path, precision=Precision.INT8, golden=golden_of(grey, PIXELS, name="grey"))
    assert passes(test, answer(file, normalize(image.crop[..., ::-1], PIXELS)))
    assert test.nearest_fault not in ("BGR", "channels in another order")


def test_the_golden_image_is_the_same_everywhere_and_exercises_the_resize():
    height, width = golden_size(PIXELS)
    pixels = golden_pixels(height, width)
    assert np.array_equal(pixels, golden_pixels(height, width))
    assert pixels.astype(np.int64).sum() == GOLDEN_SUM
    assert min(height, width) > PIXELS.resize_shorter_px and height != width
    unresized = Preprocess(height_px=16, width_px=16, resize_shorter_px=None, mean=PIXELS.mean, std=PIXELS.std)
    assert all(side > 16 for side in golden_size(unresized))


GOLDEN_SUM = 361917  # of the pixels of seed 0 for PIXELS; another sum is another image, and makes all bundles anew
