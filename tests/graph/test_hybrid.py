"""Structure and numbers of marked graphs, layers on given inputs, and hybrids; oracle: the two graphs themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from resnet_deploy.core.errors import GraphError
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.graph.correspondence import find_layers
from resnet_deploy.graph.files import check_model
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.fresh_scales import with_fresh_scales
from resnet_deploy.graph.hybrid import GIVEN, GraphPair, marked_name
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.graph.session import open_session
from tests.reference.faulty_networks import TINY_PIXELS, random_images, tiny_bottleneck
from tests.reference.small_networks import make_table, quantize_model

IMAGES = normalize(random_images(3), TINY_PIXELS)


def _run(model: onnx.ModelProto, feed=IMAGES) -> dict[str, np.ndarray]:
    check_model(model, name="graph")
    session = open_session(model, num_threads=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: feed}), strict=True))


def _int8() -> onnx.ModelProto:
    model = tiny_bottleneck()
    return quantize_model(model, make_table(model), float_precision=Precision.FP16, preprocess=TINY_PIXELS)[0]


def _scaled(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    tensor = GraphIndex(model.graph).initializer(name)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), name))
    return model


def test_a_layer_is_a_computing_node_with_its_relu_and_belongs_to_a_block() -> None:
    found = find_layers(tiny_bottleneck(), _int8())
    layers = {layer.node: layer for layer in found.layers}
    assert found.missing == () and len(layers) == 4 + 5 * 4 + 3
    assert layers["layer1.0.conv1"].tensor == layers["layer1.0.conv1"].counterpart == "layer1.0.relu"
    assert layers["layer1.0.conv3"].tensor == "layer1.0.conv3"  # the addition reads it, not a ReLU
    assert layers["layer1.0.add"].tensor == "layer1.0.relu_2" and layers["fc"].tensor == "logits"
    assert layers["layer2.0.downsample.0"].block == "layer2.0"
    assert (layers["conv1"].block, layers["fc"].block) == ("stem", "fc")


def test_marked_graphs_give_what_they_gave_and_every_layer_in_float32() -> None:
    pair = GraphPair(tiny_bottleneck(), fp16_from_fp32(tiny_bottleneck()))
    plain, marked = _run(pair.candidate), _run(pair.marked_candidate(pair.layers))
    reference = _run(pair.marked_reference(pair.layers))
    np.testing.assert_allclose(marked["logits"], plain["logits"], atol=0.05)
    for layer in pair.layers:
        name = marked_name(layer.tensor)
        assert marked[name].dtype == reference[name].dtype == np.float32
        assert marked[name].shape == reference[name].shape
        assert np.abs(marked[name] - reference[name]).max() < 0.02 * np.abs(reference[name]).max()


@pytest.mark.parametrize("make", [tiny_bottleneck, _int8])
def test_layers_on_their_own_results_give_these_results_again(make) -> None:
    """Fed with the candidate's own tensors, each layer alone must repeat the whole; 1e-2 is FP16's rounding."""
    pair = GraphPair(make(), make())
    shapes = pair.shapes(TINY_PIXELS.input_shape)
    own = _run(pair.marked_candidate(pair.layers))
    own[marked_name("images")] = IMAGES
    inputs = pair.inputs_of(pair.layers)
    assert pair.image in inputs
    packed = np.concatenate([own[marked_name(layer.tensor)].reshape(3, -1) for layer in inputs], axis=1)
    alone = pair.layers_on_given(pair.layers, shapes)
    assert [value.name for value in alone.graph.input] == [GIVEN]
    again = _run(alone, packed)
    for layer in pair.layers:
        name = marked_name(layer.tensor)
        np.testing.assert_allclose(again[name], own[name], rtol=1e-2, atol=1e-2 * np.abs(own[name]).max())


def test_a_hybrid_of_nothing_is_the_candidate_and_of_everything_the_reference() -> None:
    reference, candidate = tiny_bottleneck(), _scaled(tiny_bottleneck(), "layer2.0.conv2.weight", 4)
    pair = GraphPair(reference, candidate)
    np.testing.assert_array_equal(_run(pair.hybrid([]))["logits"], _run(candidate)["logits"])
    everything = _run(pair.hybrid([layer.node for layer in pair.layers]))["logits"]
    np.testing.assert_allclose(everything, _run(reference)["logits"], rtol=1e-4, atol=1e-4)
    healed = _run(pair.hybrid(["layer2.0.conv2"]))["logits"]
    np.testing.assert_allclose(healed, _run(reference)["logits"], rtol=1e-4, atol=1e-4)
    others = [layer.node for layer in pair.layers if layer.node != "layer2.0.conv2"]
    np.testing.assert_allclose(_run(pair.hybrid(others))["logits"], _run(candidate)["logits"], rtol=1e-4, atol=1e-4)


def test_a_layer_from_the_reference_is_what_an_excluded_layer_is() -> None:
    """Oracle: `quantize --exclude` of the same layer, with FP32 floats."""
    model = tiny_bottleneck()
    table = make_table(model)
    full, without = (
        quantize_model(model, table, float_precision=Precision.FP32, exclude=names)[0]
        for names in ((), ("layer2.0.conv2",))
    )
    hybrid = GraphPair(model, full).hybrid(["layer2.0.conv2"])
    np.testing.assert_allclose(_run(hybrid)["logits"], _run(without)["logits"], rtol=1e-4, atol=1e-4)
    assert np.abs(_run(full)["logits"] - _run(without)["logits"]).max() > 1e-2
    weights = {tensor.name for tensor in hybrid.graph.initializer}
    assert "layer2.0.conv2.weight.int8" not in weights and "reference/layer2.0.conv2.weight" in weights


def test_with_only_some_layers_the_others_belong_to_the_next() -> None:
    ends = {"layer1.0.add", "layer2.1.add", "fc"}
    pair = GraphPair(tiny_bottleneck(), _int8(), only=ends)
    assert [layer.node for layer in pair.layers] == ["layer1.0.add", "layer2.1.add", "fc"]
    assert [layer.node for layer in pair.inputs_of(pair.layers[1:2])] == ["layer1.0.add"]


def test_fresh_scales_heal_a_step_that_is_too_coarse_and_leave_weights_alone() -> None:
    model = tiny_bottleneck()
    table = make_table(model, amax=4.0)
    coarse = quantize_model(model, table, float_precision=Precision.FP32)[0]
    for tensor in coarse.graph.initializer:
        if tensor.name.endswith(".scale") and ".weight" not in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(64), tensor.name))
    wanted = _run(model)["logits"]
    before, after = (np.abs(_run(graph)["logits"] - wanted).mean() for graph in (coarse, with_fresh_scales(coarse)))
    assert after < before / 1.5
    kept = {t.name: numpy_helper.to_array(t) for t in with_fresh_scales(coarse).graph.initializer}
    for tensor in coarse.graph.initializer:
        np.testing.assert_array_equal(kept[tensor.name], numpy_helper.to_array(tensor))


def test_graphs_of_other_networks_and_unknown_layers_are_refused() -> None:
    other = tiny_bottleneck()
    del other.graph.node[:]
    other.graph.node.append(helper.make_node("Flatten", ["images"], ["flat"], name="flat"))
    del other.graph.output[:]
    other.graph.output.append(helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, None))
    with pytest.raises(GraphError, match="share 0 of 27 layer results"):
        GraphPair(tiny_bottleneck(), other)
    with pytest.raises(GraphError, match=r"is called layer9\.0\.conv1"):
        GraphPair(tiny_bottleneck(), tiny_bottleneck()).hybrid(["layer9.0.conv1"])
