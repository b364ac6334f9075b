from __future__ import annotations

import numpy as np
import pytest
import torch

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.nets.averaging import TenCrop as TenCropNet
from resnet_deploy.nets.catalogue import CIFAR_PREPROCESS, IMAGENET_PREPROCESS, find_net
from resnet_deploy.nets.checkpoint import fresh_net
from resnet_deploy.verify.averaging import mean_over_views, mean_scores, softmax
from resnet_deploy.verify.protocols import MULTI_SCALE_SIDES, Protocol, plan_views
from tests.reference.pillow_resize import resize
from tests.reference.ten_crops import plain_mean_softmax, plain_ten_crops

UNIT = Preprocess(height_px=12, width_px=12, resize_shorter_px=None, mean=(0, 0, 0), std=(1, 1, 1))
"""Network inputs are pixels / 255, so that pixels can be read back from them exactly."""


def _image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _views(plan, image: np.ndarray) -> list[np.ndarray]:
    return [_pixels(view.images)[0] for view in plan.views([plan.cut(image, "image")])]


@pytest.mark.parametrize(("height", "width"), [(20, 31), (33, 18), (15, 15)])
def test_ten_crops_are_those_of_the_slow_oracle(height: int, width: int) -> None:
    image = _image(height, width)
    plan = plan_views(Protocol.TEN_CROP, UNIT, batch_size=4, resize_px=15)
    found = {view.tobytes() for view in _views(plan, image)}
    wanted = {crop.tobytes() for crop in plain_ten_crops(image, shorter=15, crop=12)}
    assert len(wanted) == 10 and found == wanted
    # planted fault: corners of the middle square are other crops, unless the image is square
    square = plain_ten_crops(image[: min(image.shape[:2]), : min(image.shape[:2])], shorter=15, crop=12)
    assert ({crop.tobytes() for crop in square} == wanted) == (height == width)


def test_the_usual_sizes_are_the_papers() -> None:
    assert plan_views(Protocol.TEN_CROP, IMAGENET_PREPROCESS, batch_size=1).resize_px == 256
    assert plan_views(Protocol.TEN_CROP, CIFAR_PREPROCESS, batch_size=1).resize_px == 37
    assert plan_views(Protocol.MULTI_SCALE, IMAGENET_PREPROCESS, batch_size=1).sides == MULTI_SCALE_SIDES


def test_multi_scale_keeps_the_aspect_ratio_and_gives_each_image_its_own_views() -> None:
    images = [_image(20, 30, 1), _image(24, 16, 2), _image(20, 30, 3)]
    plan = plan_views(Protocol.MULTI_SCALE, UNIT, batch_size=2, sides=(12, 14))
    seen: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for view in plan.views([plan.cut(image, "") for image in images]):
        assert view.images.shape[2] * view.images.shape[3] * len(view.images) <= 2 * 12 * 12 or len(view.images) == 1
        for row, pixels in zip(view.rows, _pixels(view.images), strict=True):
            seen[int(row)].append(pixels.tobytes())
    for row, image in enumerate(images):
        height, width, _ = image.shape
        wanted = []
        for side in (12, 14):
            short = min(height, width)
            resized = resize(image, height=height * side // short, width=width * side // short)
            wanted += [resized.tobytes(), resized[:, ::-1].tobytes()]
        assert sorted(seen[row]) == sorted(wanted)


def test_the_order_of_views_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    votes = [softmax(rng.normal(size=(5, 7)).astype(np.float32) * 9) for _ in range(10)]
    mean = mean_scores(votes)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10)
        assert np.array_equal(mean_scores([votes[i] for i in order]), mean)
    wanted = [plain_mean_softmax([np.log(vote[row]).tolist() for vote in votes]) for row in range(5)]
    np.testing.assert_allclose(mean, wanted, rtol=1e-12)  # logarithm, exponential and ten sums in float64


def test_softmax_is_averaged_and_not_logits() -> None:
    plan = plan_views(Protocol.TEN_CROP, UNIT, batch_size=4, resize_px=15)
    answers = iter([[20.0, 0.0]] + [[0.0, 2.0]] * 9)
    views = list(plan.views([plan.cut(_image(20, 20), "")]))
    scores = mean_over_views(views, lambda _: np.array([next(answers)], np.float32), num_images=1, num_views=10)
    # softmax (1, 0) once and (0.12, 0.88) nine times; the mean of the logits, (2, 1.8), names the other class
    assert scores.argmax() == 1
    np.testing.assert_allclose(scores[0], plain_mean_softmax([[20.0, 0.0]] + [[0.0, 2.0]] * 9), rtol=1e-12)


def test_one_view_keeps_its_logits_bit_for_bit() -> None:
    plan = plan_views(Protocol.SINGLE, CIFAR_PREPROCESS, batch_size=4)
    logits = np.random.default_rng(0).normal(size=(1, 10)).astype(np.float32)
    found = mean_over_views(plan.views([plan.cut(_image(40, 40), "")]), lambda _: logits, num_images=1, num_views=1)
    assert found is logits


def test_a_missing_view_is_noticed() -> None:
    plan = plan_views(Protocol.TEN_CROP, UNIT, batch_size=4, resize_px=15)
    views = list(plan.views([plan.cut(_image(20, 20), "")]))[:9]
    with pytest.raises(ValueError, match=r"\[9\] views, expected 10"):
        mean_over_views(views, lambda x: np.zeros((len(x), 3), np.float32), num_images=1, num_views=10)


def test_ten_crop_agrees_with_the_torch_module_on_square_images() -> None:
    net = fresh_net(find_net("resnet8"))
    plan = plan_views(Protocol.TEN_CROP, CIFAR_PREPROCESS, batch_size=4)
    cuts = [plan.cut(_image(37, 37, seed), "") for seed in range(2)]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(images)).numpy()

    scores = mean_over_views(plan.views(cuts), run, num_images=2, num_views=10)
    whole = plan_views(Protocol.MULTI_SCALE, CIFAR_PREPROCESS, batch_size=4, sides=(37,))
    (first, *_) = whole.views([whole.cut(_image(37, 37, seed), "") for seed in range(2)])
    with torch.no_grad():
        module = TenCropNet(net, height_px=32, width_px=32)(torch.from_numpy(first.images)).exp().numpy()
    # other batches, other order of sums: 9 layers * sqrt(576 terms) * 2^-24 of logits below 2, see export.parity
    np.testing.assert_allclose(scores, module, rtol=0, atol=2 * 9 * 24 * 2.0**-24)


@pytest.mark.parametrize(
    ("protocol", "options", "match"),
    [
        (Protocol.TEN_CROP, {"resize_px": 30}, "--resize is 30"),
        (Protocol.MULTI_SCALE, {}, "224 px.*32x32 px"),
        (Protocol.MULTI_SCALE, {"sides": (32, 24)}, "--sides 24"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(protocol: Protocol, options: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        plan_views(protocol, CIFAR_PREPROCESS, batch_size=1, **options)
