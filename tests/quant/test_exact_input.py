"""The pixels as the int8 input: the same function, and rounding that changes nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.preprocess import normalize
from resnet_deploy.graph.files import check_model, read_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.exact_input import PIXELS, check_exact_input, with_exact_input
from resnet_deploy.quant.placement import Refusal
from resnet_deploy.quant.prepare import prepare
from resnet_deploy.quant.table import read_table
from tests.reference.small_networks import quantize_model


@pytest.fixture
def network(calibrated):
    manifest = read_manifest(calibrated, kind="onnx")
    return read_onnx(calibrated), manifest.preprocess


def _images(preprocess, count=4):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, preprocess.height_px, preprocess.width_px, 3), dtype=np.uint8)
    pixels[0] = np.where(pixels[0] < 128, 0, 255)
    return pixels, normalize(pixels, preprocess)


def _outputs(model, images, *names):
    wanted = onnx.ModelProto.FromString(model.SerializeToString())
    for name in names:
        wanted.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return open_session(wanted, num_threads=1).run(list(names) or None, {"images": images})


def test_the_network_computes_what_it_did(network):
    model, preprocess = network
    exact, refusal = with_exact_input(model, preprocess)
    assert refusal is None
    check_model(exact, name="exact")
    _, images = _images(preprocess)
    before, after = _outputs(model, images)[0], _outputs(exact, images)[0]
    # Weights and bias are folded in float64 and rounded once: some 2^-24 of the terms, of which there are hundreds.
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def test_the_new_tensor_holds_the_pixels_minus_128(network):
    model, preprocess = network
    pixels, images = _images(preprocess)
    (levels,) = _outputs(with_exact_input(model, preprocess)[0], images, PIXELS)
    inner = levels[:, :, 1:-1, 1:-1].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(inner, pixels.astype(np.float32) - 128, atol=1e-3)  # so rounding gives the pixel


def test_padding_stands_for_the_mean_colour(network):
    model, preprocess = network
    _, images = _images(preprocess)
    (levels,) = _outputs(with_exact_input(model, preprocess)[0], images, PIXELS)
    mean = 255 * np.array(preprocess.mean) - 128
    np.testing.assert_allclose(
        levels[:, :, 0, :], np.broadcast_to(mean[None, :, None], levels[:, :, 0].shape), atol=1e-3
    )


@pytest.mark.parametrize("float_precision", [Precision.FP32, Precision.FP16])
def test_the_int8_form_rounds_the_image_without_error(network, calibrated, float_precision):
    model, preprocess = network
    table = read_table(calibrated.with_name("net.calib.json"))
    int8, _ = quantize_model(model, table, float_precision=float_precision, preprocess=preprocess)
    check_model(int8, name="int8")
    pixels, images = _images(preprocess)
    wanted = onnx.ModelProto.FromString(int8.SerializeToString())
    wanted.graph.output.append(onnx.helper.make_tensor_value_info(f"{PIXELS}.int8", onnx.TensorProto.INT8, None))
    (levels,) = open_session(wanted, num_threads=1).run([f"{PIXELS}.int8"], {"images": images})
    np.testing.assert_array_equal(levels[:, :, 1:-1, 1:-1].transpose(0, 2, 3, 1), pixels.astype(np.int16) - 128)


def test_a_rounded_input_does_lose_pixels(network, calibrated):
    """The planted fault: without the rewrite two of 256 levels share a step."""
    _, preprocess = network
    table = read_table(calibrated.with_name("net.calib.json"))
    scale = table.scale("images")
    levels = normalize(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3), preprocess)[0, 0]
    assert len(np.unique(np.clip(np.rint(levels / scale), -128, 127))) < 256


def test_the_stem_in_float_keeps_its_input(network, calibrated):
    model, preprocess = network
    table = read_table(calibrated.with_name("net.calib.json"))
    stem = check_exact_input(model).name
    steps = prepare(model, table, float_precision=Precision.FP32, exclude=(stem,), preprocess=preprocess)
    assert steps.exact_input == "the first convolution stays in floating point"
    assert PIXELS not in {name for node in steps.quantized.graph.node for name in node.output}


def test_an_image_that_two_nodes_read_is_refused(network):
    model, preprocess = network
    extra = onnx.helper.make_node("Relu", ["images"], ["another"], name="another")
    model.graph.node.append(extra)
    same, refusal = with_exact_input(model, preprocess)
    assert same is model
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith("2 nodes read the image")


def test_a_mean_image_is_refused(network):
    """Its offset differs from pixel to pixel, which no bias of a convolution can take up."""
    model, preprocess = network
    shape = (1, 3, preprocess.height_px, preprocess.width_px)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "mean_image"))
    stem = check_exact_input(model)
    model.graph.node.insert(0, onnx.helper.make_node("Sub", ["images", "mean_image"], ["centred"], name="center"))
    next(node for node in model.graph.node if node.name == stem.name).input[0] = "centred"
    assert with_exact_input(model, preprocess)[1].reason == "a Sub reads the image, expected a convolution"


def test_a_convolution_with_automatic_padding_is_refused(network):
    model, preprocess = network
    stem = next(node for node in model.graph.node if node.name == check_exact_input(model).name)
    kept = [attribute for attribute in stem.attribute if attribute.name not in ("auto_pad", "pads")]
    del stem.attribute[:]
    stem.attribute.extend(kept)
    stem.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert with_exact_input(model, preprocess)[1].reason == "the convolution has automatic padding"
