from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.core.errors import ConfigError, GraphError
from resnet_deploy.core.specs import TensorSpec
from resnet_deploy.engine.building.options import BatchProfile, BuildOptions, SizeProfile
from resnet_deploy.engine.building.shapes import plan_shapes
from resnet_deploy.engine.contract import ShapeProfile

SIZE = SizeProfile(min=(32, 32), opt=(64, 48), max=(96, 128))


def planned(*shape: int | str, dtype: str = "float32", **options: object) -> tuple[ShapeProfile, ...]:
    tensor = TensorSpec(name="images", dtype=dtype, shape=shape)
    return plan_shapes(tensor, BuildOptions(onnx=Path("net.onnx"), **options), name="net.onnx")


def test_the_batch_alone_is_dynamic_as_a_rule() -> None:
    assert planned("N", 3, 8, 8) == (ShapeProfile(min=(1, 3, 8, 8), opt=(8, 3, 8, 8), max=(32, 3, 8, 8)),)
    assert planned(-1, 10) == (ShapeProfile(min=(1, 10), opt=(8, 10), max=(32, 10)),)


def test_a_fixed_graph_has_no_profile() -> None:
    assert planned(4, 3, 8, 8) == ()


def test_a_fixed_batch_refuses_a_profile_that_would_have_no_effect() -> None:
    with pytest.raises(ConfigError, match="net.onnx has a fixed batch"):
        planned(4, 3, 8, 8, batches=(BatchProfile(min=1, opt=1, max=8),))
    assert planned(4, 3, 8, 8, batches=(BatchProfile(min=4, opt=4, max=4),)) == ()


def test_image_sizes_fill_the_free_axes_of_every_profile() -> None:
    batches = (BatchProfile(min=1, opt=1, max=1), BatchProfile(min=2, opt=2, max=4))
    small, large = planned("N", 3, "H", "W", size=SIZE, batches=batches)
    assert (small.min, small.max) == ((1, 3, 32, 32), (1, 3, 96, 128))
    assert (large.min, large.opt, large.max) == ((2, 3, 32, 32), (2, 3, 64, 48), (4, 3, 96, 128))


def test_a_fixed_batch_and_a_fixed_height_stay() -> None:
    (profile,) = planned(4, 3, 40, "W", size=SIZE)
    assert (profile.min, profile.opt, profile.max) == ((4, 3, 40, 32), (4, 3, 40, 48), (4, 3, 40, 128))


@pytest.mark.parametrize("shape", [("N", "C", 8, 8), ("N", "H", "W"), ("N", "D", 3, 8, 8)])
def test_other_dynamic_axes_are_refused(shape: tuple) -> None:
    with pytest.raises(GraphError, match="only batch, height and width may be dynamic"):
        planned(*shape, size=SIZE)


def test_a_size_is_asked_for_where_it_is_missing_and_refused_where_it_has_no_effect() -> None:
    with pytest.raises(ConfigError, match="takes images of any size"):
        planned("N", 3, "H", "W")
    with pytest.raises(ConfigError, match="has a fixed image size"):
        planned("N", 3, 8, 8, size=SIZE)


def test_pixels_of_any_size_have_usual_sizes_and_take_others() -> None:
    (usual,) = planned("N", "height", "width", 3, dtype="uint8")
    assert (usual.min, usual.opt, usual.max) == ((1, 1, 1, 3), (8, 480, 640, 3), (32, 2048, 2048, 3))
    (chosen,) = planned(4, "height", "width", 3, dtype="uint8", size=SIZE)
    assert (chosen.min, chosen.opt, chosen.max) == ((4, 32, 32, 3), (4, 64, 48, 3), (4, 96, 128, 3))
    with pytest.raises(GraphError, match="only batch, height and width may be dynamic"):
        planned("N", "height", "width", 3)  # floats of any size have their channels first


def test_a_dla_takes_one_shape() -> None:
    with pytest.raises(ConfigError, match=r"a DLA takes fixed shapes only, net.onnx would get \[1, 3, 8, 8\] to \[32"):
        planned("N", 3, 8, 8, dla_core=0)
    (profile,) = planned("N", 3, 8, 8, dla_core=0, batches=(BatchProfile(min=8, opt=8, max=8),))
    assert profile.min == profile.max == (8, 3, 8, 8)
    assert planned(4, 3, 8, 8, dla_core=0) == ()
