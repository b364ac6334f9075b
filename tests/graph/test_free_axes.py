from __future__ import annotations

import numpy as np
import pytest

from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.free_axes import fixed_batch, set_input_axes
from resnet_deploy.graph.head import append_softmax, append_top_k
from resnet_deploy.graph.session import open_session
from tests.reference.small_networks import bottleneck_onnx, resnet8_onnx


def _shape(value) -> list:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_a_fixed_batch_stands_in_input_and_outputs_and_can_be_freed_again():
    model = resnet8_onnx()
    append_softmax(model)
    append_top_k(model, 3)
    before = model.SerializeToString(deterministic=True)
    set_input_axes(model, batch=4, any_size=False)
    check_model(model, name="fixed")
    assert fixed_batch(model) == 4
    assert [_shape(v) for v in (*model.graph.input, *model.graph.output)] == [[4, 3, 32, 32], [4, 3], [4, 3]]
    with pytest.raises(Exception, match="Got: 2 Expected: 4"):
        open_session(model).run(None, {"images": np.zeros((2, 3, 32, 32), np.float32)})
    set_input_axes(model, batch=None, any_size=False)
    assert fixed_batch(model) is None and model.SerializeToString(deterministic=True) == before


def test_height_and_width_of_any_size():
    for model, sizes in ((resnet8_onnx(), (17, 40)), (bottleneck_onnx(), (64, 97))):
        set_input_axes(model, batch=None, any_size=True)
        check_model(model, name="free")
        assert _shape(model.graph.input[0]) == ["N", 3, "H", "W"] and _shape(model.graph.output[0]) == ["N", 10]
        assert open_session(model).run(None, {"images": np.zeros((2, 3, *sizes), np.float32)})[0].shape == (2, 10)
