from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_deploy.core.errors import EngineRunError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.base import check_feeds
from resnet_deploy.engine.contract import RunnerInfo

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
        ({"images": zeros(1, 3, 8, 8, dtype="uint8")}, "uint8"),
        ({"images": [[1.0]]}, "is a list, expected float32"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(feeds: dict, says: str) -> None:
    with pytest.raises(EngineRunError, match=says):
        check_feeds(info(IMAGES), feeds)


def test_a_batch_over_the_limit_is_refused() -> None:
    check_feeds(info(IMAGES, max_batch=4), {"images": zeros(4, 3, 8, 8)})
    with pytest.raises(EngineRunError, match="batch of 5 in input images, at most 4"):
        check_feeds(info(IMAGES, max_batch=4), {"images": zeros(5, 3, 8, 8)})


def test_axes_of_one_name_must_agree() -> None:
    other = TensorSpec(name="scale", dtype="float32", shape=("N",))
    check_feeds(info(IMAGES, other), {"images": zeros(2, 3, 8, 8), "scale": zeros(2)})
    with pytest.raises(EngineRunError, match="axis N is 2 in input images and 3 in input scale"):
        check_feeds(info(IMAGES, other), {"images": zeros(2, 3, 8, 8), "scale": zeros(3)})


@given(
    spec=st.lists(st.sampled_from(["N", -1, 1, 2, 3]), min_size=1, max_size=4),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
def test_a_shape_passes_exactly_when_every_fixed_axis_is_met(spec: list, shape: list) -> None:
    named = [f"axis{i}" if want == "N" else want for i, want in enumerate(spec)]
    fits = len(spec) == len(shape) and all(w in ("N", -1) or w == s for w, s in zip(spec, shape, strict=True))
    tensor = TensorSpec(name="x", dtype="float32", shape=tuple(named))
    if fits:
        check_feeds(info(tensor), {"x": zeros(*shape)})
    else:
        with pytest.raises(EngineRunError):
            check_feeds(info(tensor), {"x": zeros(*shape)})
