"""Bias correction and adaptive rounding through a whole network, and the gain that is told."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.score import compare_logits
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.graph.files import check_model, read_onnx
from resnet_deploy.quant.prepare import prepare
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.reconstruction import reconstruct
from resnet_deploy.quant.refine import RefineOptions, open_refinement_images, refine_model
from resnet_deploy.quant.scoring import logits_of_model
from resnet_deploy.quant.table import read_table


@pytest.fixture
def network(calibrated):
    """Original, quantised with scales four times too large (so that there is something to refine), and images."""
    manifest = read_manifest(calibrated, kind="onnx")
    steps = prepare(
        read_onnx(calibrated), read_table(calibrated.with_name("net.calib.json")), float_precision=Precision.FP32
    )
    for initializer in steps.quantized.graph.initializer:
        if initializer.name.endswith("weight.scale"):
            _coarsen(steps.quantized, initializer, factor=8)
    source = stratified_sample(open_images("digits", split="train"), 64, seed=0)
    images = np.concatenate([b.images for b in input_batches(source, manifest.preprocess, batch_size=32)])
    return steps.original, steps.quantized, images


def _coarsen(model, scale, factor):
    values = next(t for t in model.graph.initializer if t.name == scale.name.replace(".scale", ".int8"))
    coarse = np.rint(numpy_helper.to_array(values) / factor).astype(np.int8)
    values.CopyFrom(numpy_helper.from_array(coarse, values.name))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * factor, scale.name))


def _tensor(model, name):
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))


def _means(model, images, names):
    wanted = onnx.ModelProto.FromString(model.SerializeToString())
    for name in names:
        wanted.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    from resnet_deploy.graph.session import open_session

    session = open_session(wanted, num_threads=1)
    return [v.mean(axis=(0, 2, 3)) for v in session.run(list(names), {"images": images})]


@pytest.mark.parametrize("refinements", [["bias"], ["bias", "rounding"]])
def test_bias_correction_gives_every_layer_the_mean_output_of_fp32(network, refinements):
    original, quantized, images = network
    result = reconstruct(original, quantized, images, refinements)
    check_model(result, name="result")
    names = [node.output[0] for node in original.graph.node if node.op_type == "Conv"]
    wanted, before, after = (_means(model, images, names) for model in (original, quantized, result))
    for want, was, now in zip(wanted, before, after, strict=True):
        assert np.abs(was - want).max() > 1e-3  # there was something to correct
        # Float32 sums over 64 images of up to 32 x 32 positions.
        np.testing.assert_allclose(now, want, atol=1e-4)


def test_bias_correction_changes_nothing_but_biases(network):
    original, quantized, images = network
    result = reconstruct(original, quantized, images, ["bias"])
    biases = {node.input[2] for node in quantized.graph.node if node.op_type in ("Conv", "Gemm")}
    for before, after in zip(quantized.graph.initializer, result.graph.initializer, strict=True):
        assert (before == after) == (before.name not in biases)
    assert list(quantized.graph.node) == list(result.graph.node)


def test_adaptive_rounding_moves_the_logits_closer_to_fp32(network):
    original, quantized, images = network
    wanted, before = (logits_of_model(model, iter([images])) for model in (original, quantized))
    result = reconstruct(original, quantized, images, ["rounding"])
    after = logits_of_model(result, iter([images]))
    assert compare_logits(after, wanted).sqnr_db > compare_logits(before, wanted).sqnr_db + 3
    weights = [t.name for t in quantized.graph.initializer if t.name.endswith("weight.int8")]
    assert all(_tensor(result, name).dtype == np.int8 for name in weights)
    assert any((_tensor(result, name) != _tensor(quantized, name)).any() for name in weights)


def test_the_same_images_give_the_same_bytes(network):
    original, quantized, images = network
    first, second = (reconstruct(original, quantized, images, ["bias", "rounding"]) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_an_unknown_refinement_is_named(network):
    with pytest.raises(ConfigError, match="'magic'"):
        reconstruct(*network[:2], network[2], ["magic"])
    with pytest.raises(ConfigError, match="'magic' is no refinement"):
        RefineOptions(refinements=("magic",), data="digits")
    with pytest.raises(ConfigError, match="each at most once"):
        RefineOptions(refinements=("bias", "bias"), data="digits")


def test_gains_are_of_images_that_were_not_learnt_from(network, calibrated):
    original, quantized, _ = network
    options = RefineOptions(refinements=("bias", "rounding"), data="digits", num_images=40)
    preprocess = read_manifest(calibrated, kind="onnx").preprocess
    source = open_refinement_images(options)
    result, gains, _ = refine_model(original, quantized, source, preprocess, options, float_precision=Precision.FP32)
    assert [gain.step for gain in gains] == ["rounding to nearest", "bias", "bias + rounding"]
    assert all(gain.is_held_out and gain.score.num_images == 40 for gain in gains)
    other = np.concatenate([b.images for b in input_batches(source, preprocess, batch_size=32)])[1::2]
    again = compare_logits(logits_of_model(result, iter([other])), logits_of_model(original, iter([other])))
    assert gains[-1].score == again


def test_one_image_is_too_few(network, calibrated):
    original, quantized, _ = network
    preprocess = read_manifest(calibrated, kind="onnx").preprocess
    source = stratified_sample(open_images("digits", split="train"), 1, seed=0)
    with pytest.raises(DataError, match="1 image, refinement needs at least 2"):
        refine_model(
            original,
            quantized,
            source,
            preprocess,
            RefineOptions(refinements=("bias",), data="digits"),
            float_precision=Precision.FP32,
        )


def test_quantize_refines_once_and_says_what_it_gained(calibrated):
    options = QuantizeOptions(
        onnx=calibrated, refine=RefineOptions(refinements=("bias",), data="digits", num_images=32)
    )
    result = quantize_onnx(options)
    assert [gain.step for gain in result.gains] == ["rounding to nearest", "bias"]
    assert result.audit.startswith("7 of 7 convolutions int8 in")
    plain = quantize_onnx(QuantizeOptions(onnx=calibrated, out=calibrated.with_name("plain.int8.onnx")))
    assert plain.gains == ()
    assert plain.file.read_bytes() != result.file.read_bytes()
    again = quantize_onnx(options)
    assert again.skipped
    assert again.gains == result.gains
