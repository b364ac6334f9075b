"""The gate's images, the shapes it runs them in, and how it puts batches together."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from resnet_deploy.core.specs import Preprocess, TensorSpec
from resnet_deploy.engine.contract import RunnerInfo, ShapeProfile
from resnet_deploy.engine.sanity.images import legal_images
from resnet_deploy.engine.sanity.session import SanitySession
from resnet_deploy.engine.sanity.shapes import shapes_to_run

IMAGES = TensorSpec(name="images", dtype="float32", shape=("N", 3, 32, 48))
PIXELS = Preprocess(height_px=32, width_px=48, resize_shorter_px=None, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def info(shape: tuple, **more) -> RunnerInfo:
    spec = TensorSpec(name="images", dtype="float32", shape=shape)
    return RunnerInfo(backend="x", version="1", device="cpu", file="x", inputs=(spec,), outputs=(), **more)


def test_the_images_reach_but_never_leave_what_preprocessing_can_give() -> None:
    images = legal_images(IMAGES, height_px=32, width_px=48, preprocess=PIXELS, seed=0)
    low = (0 - np.float32(PIXELS.mean)) / np.float32(PIXELS.std)
    high = (1 - np.float32(PIXELS.mean)) / np.float32(PIXELS.std)
    assert images.rows.shape == (len(images.names), 3, 32, 48) and images.rows.dtype == np.float32
    np.testing.assert_array_equal(images.rows.min(axis=(0, 2, 3)), low)
    np.testing.assert_array_equal(images.rows.max(axis=(0, 2, 3)), high)
    np.testing.assert_array_equal(images.rows[images.names.index("all white")].min(axis=(1, 2)), high)
    one = images.rows[images.names.index("channel 1 saturated")]
    assert (one[1] == high[1]).all() and (one[0] == low[0]).all() and (one[2] == low[2]).all()


def test_no_two_images_are_alike_and_another_seed_draws_others() -> None:
    first, again, other = (
        legal_images(IMAGES, height_px=32, width_px=48, preprocess=PIXELS, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.rows, again.rows)
    assert len(np.unique(first.rows.reshape(len(first.names), -1), axis=0)) == len(first.names) == len(set(first.names))
    drawn = [index for index, name in enumerate(first.names) if name.startswith(("noise", "random"))]
    assert len(drawn) >= 10
    assert all((first.rows[index] != other.rows[index]).any() for index in drawn)


@pytest.mark.parametrize(
    ("dtype", "shape", "row"),
    [
        ("uint8", ("N", 3, 8, 9), (3, 8, 9)),
        ("uint8", ("N", 8, 9, 3), (8, 9, 3)),
        ("float16", ("N", 1, 8, 9), (1, 8, 9)),
        ("float32", (-1, 3, -1, -1), (3, 8, 9)),
    ],
)
def test_images_take_the_type_and_layout_of_the_input(dtype: str, shape: tuple, row: tuple) -> None:
    images = legal_images(
        TensorSpec(name="x", dtype=dtype, shape=shape), height_px=8, width_px=9, preprocess=None, seed=0
    )
    assert images.rows.dtype == dtype and images.rows.shape[1:] == row
    assert (images.rows.min(), images.rows.max()) == ((0, 255) if dtype == "uint8" else (-2, 2))


def test_every_profile_is_run_at_its_corners_and_just_outside() -> None:
    small = ShapeProfile(min=(1, 3, 8, 8), opt=(1, 3, 8, 8), max=(4, 3, 8, 8))
    large = ShapeProfile(min=(5, 3, 8, 8), opt=(16, 3, 8, 8), max=(32, 3, 8, 8))
    (shapes,) = shapes_to_run(info(("N", 3, 8, 8), profiles=(small, large), max_batch=32), None)
    assert shapes.smallest == 1
    assert {1, 4, 5, 16, 31, 32, 33} <= set(shapes.batches) and list(shapes.batches) == sorted(shapes.batches)


def test_dynamic_height_and_width_are_run_at_the_profiles_sizes_the_usual_one_first() -> None:
    profile = ShapeProfile(min=(1, 3, 64, 64), opt=(4, 3, 224, 320), max=(8, 3, 512, 512))
    found = shapes_to_run(info(("N", 3, "H", "W"), profiles=(profile,), max_batch=8), PIXELS)
    assert [(shape.height_px, shape.width_px) for shape in found] == [(224, 320), (64, 64), (512, 512)]
    assert all(shape.batches[-1] == 9 for shape in found)


@pytest.mark.parametrize(
    ("shape", "max_batch", "sizes", "batches"),
    [
        (("N", 3, 8, 9), None, [(8, 9)], {1, 2, 3, 7, 8, 32}),
        (("N", 3, 8, 9), 16, [(8, 9)], {1, 15, 16, 17}),
        ((4, 3, 8, 9), None, [(8, 9)], {1, 3, 4, 5}),
        ((1, 3, 8, 9), None, [(8, 9)], {1, 2}),
        (("N", 3, "H", "W"), None, [(32, 48), (40, 72)], {1, 32}),
        (("N", 3, 40, "W"), None, [(40, 48)], {1, 32}),
    ],
)
def test_without_profiles_the_declared_shape_says_what_to_run(shape, max_batch, sizes, batches: set) -> None:
    found = shapes_to_run(info(shape, max_batch=max_batch), PIXELS)
    assert [(one.height_px, one.width_px) for one in found] == sizes
    assert all(batches <= set(one.batches) for one in found)


class _MeanColour:
    """A runner whose answer is the mean colour, so that images are told apart."""

    info = info(("N", 3, 32, 48))

    def run(self, feeds):
        return {"y": feeds["images"].mean(axis=(2, 3))}


@pytest.fixture
def session() -> SanitySession:
    images = legal_images(IMAGES, height_px=32, width_px=48, preprocess=PIXELS, seed=0)
    return SanitySession(_MeanColour(), images, smallest=1, limit=2**-13, deadline=time.perf_counter() + 60)


def test_probes_are_far_apart(session: SanitySession) -> None:
    answers = session.alone["y"]
    assert len(session.probes) == 8
    for a in session.probes:
        for b in session.probes:
            assert a == b or np.abs(answers[a] - answers[b]).max() / np.abs(answers).max() > 0.25


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 17, 33])
def test_a_batch_has_no_row_like_its_neighbour_or_like_the_batch_before(session: SanitySession, count: int) -> None:
    before = session.probe_batch(33, draw=1)
    rows = session.probe_batch(count, draw=1, before=before)
    assert rows == session.probe_batch(count, draw=1, before=before) and set(rows) <= set(session.probes)
    assert all(a != b for a, b in itertools.pairwise(rows))
    assert all(a != b for a, b in zip(rows, before, strict=False))
    assert rows[0] not in rows[1:2] and (count < 2 or rows[-1] != rows[0])
    # mixing rows up by any distance changes the batch: there is no period
    assert all(np.roll(rows, shift).tolist() != rows for shift in range(1, count))


def test_two_probes_still_fill_a_batch(session: SanitySession) -> None:
    session.probes = session.probes[:2]
    before = session.probe_batch(9, draw=1)
    rows = session.probe_batch(9, draw=2, before=before)
    assert len(rows) == 9 and all(a != b for a, b in zip(rows, before, strict=True))


def test_images_without_an_answer_of_numbers_are_no_probes() -> None:
    class Bad(_MeanColour):
        def run(self, feeds):
            y = feeds["images"].mean(axis=(2, 3))
            return {"y": np.where(y[:, :1] > 2, np.nan, y).astype(np.float32)}

    images = legal_images(IMAGES, height_px=32, width_px=48, preprocess=PIXELS, seed=0)
    session = SanitySession(Bad(), images, smallest=1, limit=2**-13, deadline=time.perf_counter() + 60)
    assert len(session.probes) > 2 and np.isfinite(session.alone["y"][session.probes]).all()


def test_a_batch_over_the_memory_of_the_gate_is_refused(session: SanitySession) -> None:
    # 3 * 32 * 48 * 4 bytes of an image and 12 of its answer: 2^30 bytes are 58,216 images
    assert "MiB of host memory" in session.refusal(60_000) and not session.refusal(50_000)
