from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.contract import RunnerInfo
from resnet_deploy.engine.runners import base
from resnet_deploy.engine.runners.base import BaseRunner, check_feeds

IMAGES = TensorSpec(name="images", dtype="float32", shape=("N", 3, 8, 8))


def info(*inputs: TensorSpec, max_batch: int | None = None) -> RunnerInfo:
    return RunnerInfo(
        backend="torch", version="1", device="cpu", file="net.onnx", inputs=inputs, outputs=(), max_batch=max_batch
    )


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, r"got inputs \[\], expected \['images'\]"),
        ({"image": zeros(1, 3, 8, 8)}, r"got inputs \['image'\]"),
        ({"images": zeros(1, 3, 8, 8), "more": zeros(1)}, r"got inputs \['images', 'more'\]"),
        ({"images": zeros(3, 8, 8)}, r"float32 \[3, 8, 8\], expected float32 \[N, 3, 8, 8\]"),
        ({"images": zeros(1, 8, 8, 3)}, r"\[1, 8, 8, 3\]"),
        ({"images": zeros(1, 3, 8, 9)}, r"\[1, 3, 8, 9\]"),
        ({"images": zeros(0, 3, 8, 8)}, r"\[0, 3, 8, 8\]"),
        ({"images": zeros(1, 3, 8, 8, dtype="float64")}, "float64"),
        ({"images": zeros(0, 3, 8, 8), "more": zeros(1)}, "more"),
        ({"images": zeros(1, 3, 8, 8, dtype="uint8")}, "uint8"),
        ({"images": [[1.0]]}, "is a list, expected float32"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(feeds: dict, says: str) -> None:
    with pytest.raises(EngineRunError, match=says):
        check_feeds(info(IMAGES), feeds)


def test_axes_of_one_name_must_agree() -> None:
    other = TensorSpec(name="scale", dtype="float32", shape=("N",))
    check_feeds(info(IMAGES, other), {"images": zeros(2, 3, 8, 8), "scale": zeros(2)})
    with pytest.raises(EngineRunError, match="axis N is 2 in input images and 3 in input scale"):
        check_feeds(info(IMAGES, other), {"images": zeros(2, 3, 8, 8), "scale": zeros(3)})


def test_inputs_of_different_batches_are_refused() -> None:
    other = TensorSpec(name="scale", dtype="float32", shape=(-1,))
    with pytest.raises(EngineRunError, match="different batches"):
        check_feeds(info(IMAGES, other), {"images": zeros(2, 3, 8, 8), "scale": zeros(3)})


@given(
    spec=st.lists(st.sampled_from(["N", -1, 1, 2, 3]), min_size=1, max_size=4),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
def test_a_shape_passes_exactly_when_every_fixed_axis_but_the_batch_is_met(spec: list, shape: list) -> None:
    named = [f"axis{i}" if want == "N" else want for i, want in enumerate(spec)]
    fits = len(spec) == len(shape) and all(w in ("N", -1) or w == s for w, s in list(zip(spec, shape, strict=True))[1:])
    tensor = TensorSpec(name="x", dtype="float32", shape=tuple(named))
    if fits:
        check_feeds(info(tensor), {"x": zeros(*shape)})
    else:
        with pytest.raises(EngineRunError):
            check_feeds(info(tensor), {"x": zeros(*shape)})


class Doubling(BaseRunner):
    """Twice its input, in passes of at most `max_batch` rows; keeps the batches it was given."""

    def __init__(self, about: RunnerInfo, *, rows_out: int | None = None) -> None:
        self.info, self.batches, self._rows_out = about, [], rows_out

    def _run(self, feeds):
        images = feeds["images"]
        assert images.flags.c_contiguous
        self.batches.append(len(images))
        return {"logits": (images * 2)[: self._rows_out], "count": np.full(len(images), len(images))}

    def _timed_loop(self, feeds, iterations):
        return np.full(iterations, 1e-3)

    def _release(self) -> None:
        self.batches.append("released")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(("count", "batches"), [(3, [3]), (4, [4]), (9, [4, 4, 1])])
def test_more_rows_than_a_pass_takes_are_split_and_put_together(count: int, batches: list[int]) -> None:
    runner = Doubling(info(IMAGES, max_batch=4))
    for _ in range(2):
        found = runner.run({"images": images(count)})
        np.testing.assert_array_equal(found["logits"], images(count) * 2)
        assert found["count"].tolist() == [size for size in batches for _ in range(size)]
    assert runner.batches == batches * 2


def test_too_few_rows_are_filled_up_and_the_filling_is_cut_off() -> None:
    fixed = info(TensorSpec(name="images", dtype="float32", shape=(4, 3, 8, 8)))
    runner = Doubling(fixed)
    np.testing.assert_array_equal(runner.run({"images": images(6)})["logits"], images(6) * 2)
    np.testing.assert_array_equal(runner.run({"images": images(1)})["logits"], images(1) * 2)
    assert runner.batches == [4, 4, 4]


def test_filling_up_allocates_once() -> None:
    fixed = info(TensorSpec(name="images", dtype="float32", shape=(4, 3, 8, 8)))
    runner = Doubling(fixed)
    runner.run({"images": images(1)})
    first = runner._filled["images"]
    runner.run({"images": images(3)})
    assert runner._filled["images"] is first


def test_outputs_without_a_row_for_each_image_can_not_be_put_together() -> None:
    runner = Doubling(info(IMAGES, max_batch=4), rows_out=1)
    assert len(runner.run({"images": images(4)})["logits"]) == 1
    with pytest.raises(EngineRunError, match=r"output logits of a pass of 4 rows is \[1, 3, 8, 8\]") as caught:
        runner.run({"images": images(5)})
    assert caught.value.remedy == "give 4 images at a time"


def test_a_signature_seen_before_is_not_checked_again_and_a_new_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    real = base.check_feeds
    monkeypatch.setattr(base, "check_feeds", lambda about, feeds: (checked.append(1), real(about, feeds)))
    runner = Doubling(info(IMAGES))
    for count in (2, 2, 3, 2):
        runner.run({"images": images(count)})
    assert len(checked) == 2
    for wrong in (images(2).astype(np.float64), images(2)[:, :2], images(2)[0], [[1.0]]):
        for _ in range(2):
            with pytest.raises(EngineRunError):
                runner.run({"images": wrong})
    with pytest.raises(EngineRunError, match="got inputs"):
        runner.run({"image": images(2)})


def test_a_timed_loop_is_never_split_nor_filled_up() -> None:
    runner = Doubling(info(IMAGES, max_batch=4))
    assert runner.timed_loop({"images": images(4)}, 3).shape == (3,)
    with pytest.raises(EngineRunError, match="batch 5 is over this file's largest, 4"):
        runner.timed_loop({"images": images(5)}, 3)
    fixed = Doubling(info(TensorSpec(name="images", dtype="float32", shape=(4, 3, 8, 8))))
    with pytest.raises(EngineRunError, match="takes a batch of 4 alone, not 2"):
        fixed.timed_loop({"images": images(2)}, 3)


def test_a_fork_is_closed_on_its_own() -> None:
    runner = Doubling(info(IMAGES, max_batch=4))
    runner.run({"images": images(5)})
    fork = runner.fork()
    assert fork._plans == {} and fork._plans is not runner._plans and fork._filled is not runner._filled
    runner.close()
    np.testing.assert_array_equal(fork.run({"images": images(2)})["logits"], images(2) * 2)
    with pytest.raises(EngineRunError, match="closed"):
        runner.fork()
