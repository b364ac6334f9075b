"""Learnt channel factors, scales and biases: the same FP32 network, and a rounded one that is nearer to it."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import Manifest, read_manifest
from resnet_deploy.core.progress import NO_PROGRESS
from resnet_deploy.core.score import compare_logits
from resnet_deploy.core.specs import Precision, UnsignedRelu
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import open_images, stratified_sample
from resnet_deploy.graph.files import check_model, read_onnx
from resnet_deploy.graph.rounding_points import find_rounded_activations
from resnet_deploy.graph.trainable import TrainableGraph
from resnet_deploy.quant import equalization
from resnet_deploy.quant.candidates import Candidates
from resnet_deploy.quant.equalization import equalize
from resnet_deploy.quant.exact_input import PIXELS
from resnet_deploy.quant.prepare import Prepared, delivered, prepare
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.refine import RefineOptions, open_refinement_images, refine_model
from resnet_deploy.quant.scoring import load_scoring_images, logits_of_model
from resnet_deploy.quant.table import read_table
from tests.reference.small_networks import bottleneck_onnx, make_table, small_preprocess

RUNNER = CliRunner()


class Case(NamedTuple):
    """A network whose channels differ much in size, so that there is something to equalise."""

    model: onnx.ModelProto
    manifest: Manifest
    images: np.ndarray
    other: np.ndarray

    def prepare(self, file, **options) -> Prepared:
        table = read_table(file.with_name("net.calib.json"))
        return prepare(self.model, table, **{"float_precision": Precision.FP32} | options)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Of a fifth of a second's work each; enough where it is not the gain that is looked at."""
    monkeypatch.setattr(equalization, "_NUM_STEPS", 12)


@pytest.fixture
def _more_steps(monkeypatch):
    monkeypatch.setattr(equalization, "_NUM_STEPS", 60)


@pytest.fixture
def case(calibrated) -> Case:
    manifest = read_manifest(calibrated, kind="onnx")
    source = stratified_sample(open_images("digits", split="train"), 48, seed=0)
    images = np.concatenate([b.images for b in input_batches(source, manifest.preprocess, batch_size=48)])
    return Case(read_onnx(calibrated), manifest, images[:32], images[32:])


def _logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return logits_of_model(model, iter([images]), 1)


def _sqnr(model: onnx.ModelProto, original: onnx.ModelProto, images: np.ndarray) -> float:
    return compare_logits(_logits(model, images), _logits(original, images)).sqnr_db


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _bytes(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def _equalized(prepared: Prepared, images: np.ndarray, precision: Precision = Precision.FP32):
    return equalize(prepared.original, prepared.quantized, images, float_precision=precision)


@pytest.mark.usefixtures("_more_steps")
def test_the_rounded_network_comes_nearer_to_fp32_which_stays_what_it_is(case, calibrated):
    before = case.prepare(calibrated, preprocess=case.manifest.preprocess)
    after = _equalized(before, case.images)
    for images in (case.images, case.other):
        # Measured: 3.0 dB, on the images it learnt from and on others.
        assert _sqnr(after.quantized, case.model, images) > _sqnr(before.quantized, case.model, images) + 1.5
        wanted = _logits(case.model, images)
        # Sums of at most 576 float32 terms, each rounded anew: 576^0.5 * 2^-24 of the largest.
        np.testing.assert_allclose(_logits(after.original, images), wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(np.log(after.factors)).max() > 0.05


def test_nodes_names_types_and_the_exact_input_stay(case, calibrated):
    before = case.prepare(calibrated, preprocess=case.manifest.preprocess)
    after = _equalized(before, case.images)
    for old, new in ((before.original, after.original), (before.quantized, after.quantized)):
        check_model(new, name="equalised")
        assert list(old.graph.node) == list(new.graph.node)
        kinds = [[(t.name, t.data_type, list(t.dims)) for t in m.graph.initializer] for m in (old, new)]
        assert kinds[0] == kinds[1]
    assert _constants(after.quantized)[f"{PIXELS}.scale"] == 1 and PIXELS not in after.scales


def test_what_is_written_is_what_was_learnt(case, calibrated):
    """The forward pass of the descent and the written file, by ONNX Runtime, from numbers far from the first."""
    prepared = case.prepare(calibrated, float_precision=Precision.FP16, exclude=("layer2.0.conv1",))
    learner = equalization._Learner(prepared.original, prepared.quantized, Precision.FP16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values, spread in [
            (learner.log_factors, 1),
            (learner.log_scales, 0.3),
            *((b, 0.1) for b in learner.bias_changes),
        ]:
            values += spread * torch.randn(values.shape, generator=generator)
    feeds = {"images": torch.from_numpy(case.images)} | learner.constants()
    (logits,) = learner.graph.run(feeds)
    written = _logits(learner.written().quantized, case.images)
    start = _logits(prepared.quantized, case.images)
    # A rounding that falls to the other side is one step of 127 in one of thousands of values.
    assert np.abs(written - logits.detach().numpy()).max() < 0.05 * np.abs(written - start).max()


def test_the_same_images_give_the_same_bytes_on_any_number_of_processors(case, calibrated, monkeypatch):
    prepared = case.prepare(calibrated)
    results = []
    for count in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        results.append(_equalized(prepared, case.images))
    assert _bytes(results[0].quantized) == _bytes(results[1].quantized)
    assert _bytes(results[0].original) == _bytes(results[1].original)


def test_a_descent_that_ends_worse_than_it_began_changes_nothing(case, calibrated, monkeypatch):
    monkeypatch.setattr(equalization, "_SCALE_RATE", 5.0)
    prepared = case.prepare(calibrated)
    after = _equalized(prepared, case.images)
    assert after.quantized is prepared.quantized and after.original is prepared.original
    assert (after.factors == 1).all()


def test_factors_stay_within_their_limit(case, calibrated, monkeypatch):
    monkeypatch.setattr(equalization, "_FACTOR_RATE", 0.1)
    monkeypatch.setattr(equalization, "_LARGEST_FACTOR", 1.25)
    factors = _equalized(case.prepare(calibrated), case.images).factors
    assert factors.max() == pytest.approx(1.25) and factors.min() >= 0.8 - 1e-6


def test_scales_are_numbers_of_the_float_type(case, calibrated):
    after = _equalized(case.prepare(calibrated, float_precision=Precision.FP16), case.images, Precision.FP16)
    scales = [values for name, values in _constants(after.quantized).items() if name.endswith(".scale")]
    assert scales and all((values.astype(np.float16) == values).all() for values in scales)


def test_scales_that_have_to_be_equal_stay_equal(monkeypatch):
    """A max-pool has a pair before and one behind it, with one scale."""
    monkeypatch.setattr(equalization, "_NUM_STEPS", 2)
    monkeypatch.setattr(equalization, "_BATCH_PIXELS", 1)
    monkeypatch.setattr(equalization, "_SCALE_RATE", 0.3)
    model = bottleneck_onnx()
    prepared = prepare(
        model, make_table(model, amax=100.0), float_precision=Precision.FP32, preprocess=small_preprocess()
    )
    images = np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)
    after = _equalized(prepared, images)
    pairs = [find_rounded_activations(m.graph) for m in (prepared.quantized, after.quantized)]
    assert [p.tensors for p in pairs[0]] == [p.tensors for p in pairs[1]]  # a scale of its own would split one
    assert any(len(p.tensors) > 1 for p in pairs[1])
    assert [p.value for p in pairs[0]] != [p.value for p in pairs[1]]


@pytest.mark.usefixtures("_more_steps")
def test_layers_in_float_are_scaled_too(case, calibrated):
    """Weights of a layer that is left out pass the channels on as the others expect them."""
    left_out = ("layer1.0.conv2", "layer2.0.conv1")
    before = case.prepare(calibrated, exclude=left_out)
    after = _equalized(before, case.images)
    assert _sqnr(after.quantized, case.model, case.other) > _sqnr(before.quantized, case.model, case.other)
    old, new = _constants(before.quantized), _constants(after.quantized)
    for node in before.quantized.graph.node:
        if node.name in left_out:
            assert (old[node.input[1]] != new[node.input[1]]).any()


def test_unsigned_tensors_are_equalised(case, calibrated):
    options = {"preprocess": case.manifest.preprocess, "unsigned_relu": UnsignedRelu.ALL}
    before = case.prepare(calibrated, **options)
    assert before.unsigned.tensors
    after = _equalized(before, case.images)
    quantized = [delivered(model, Precision.FP32) for model in (before.quantized, after.quantized)]
    assert _sqnr(quantized[1], case.model, case.other) > _sqnr(quantized[0], case.model, case.other)


def _refined(case: Case, prepared: Prepared, names: tuple[str, ...]):
    options = RefineOptions(refinements=names, data="digits", num_images=24)
    return refine_model(
        prepared.original,
        prepared.quantized,
        open_refinement_images(options),
        case.manifest.preprocess,
        options,
        float_precision=Precision.FP32,
    )


def test_refinement_equalises_first_whatever_the_order(case, calibrated):
    prepared = case.prepare(calibrated)
    first, second = (_refined(case, prepared, names) for names in (("equalize", "bias"), ("bias", "equalize")))
    assert _bytes(first.quantized) == _bytes(second.quantized)
    assert [gain.step for gain in first.gains] == ["rounding to nearest", "equalize", "equalize + bias"]
    assert first.gains == second.gains
    alone = _refined(case, prepared, ("equalize",))
    assert alone.gains == first.gains[:2] and alone.equalized is not None


def test_what_follows_starts_from_the_equalised_network(case, calibrated):
    prepared = case.prepare(calibrated)
    refined = _refined(case, prepared, ("equalize", "bias", "rounding"))
    assert _bytes(refined.equalized.original) != _bytes(prepared.original)
    old, new = (_constants(model) for model in (refined.equalized.quantized, refined.quantized))
    changed = {name for name in old if (old[name] != new[name]).any()}
    assert changed and all(name.endswith((".bias", ".int8")) for name in changed)
    # From the network that was not equalised, adaptive rounding would undo it: most weights are other numbers then.
    weights = [name for name in old if name.endswith("weight.int8")]
    assert all(np.abs(old[name].astype(int) - new[name]).max() <= 8 for name in weights)


def test_a_set_of_float_layers_is_scored_on_the_equalised_network(case, calibrated):
    """With all but one layer in float, a budget's candidate is nearly FP32; with the old weights it would be noise."""
    refine = RefineOptions(refinements=("equalize", "bias"), data="digits", num_images=16)
    options = QuantizeOptions(onnx=calibrated, refine=refine, float_precision=Precision.FP32)
    images = load_scoring_images(
        calibrated, case.manifest, data="digits", split="test", num_images=40, seed=0, num_threads=1
    )
    candidates = Candidates(options, "roofline", case.manifest, images, num_threads=1, progress=NO_PROGRESS)
    layers = [node.name for node in case.model.graph.node if node.op_type in ("Conv", "Gemm", "Add")]
    whole = candidates.measure(())
    for kept in ("layer3.0.conv1", "conv1"):
        score = candidates.measure(tuple(name for name in layers if name != kept))
        assert score.sqnr_db > whole.sqnr_db + 5, kept
    file = candidates.deliver(())
    assert file.sqnr_db == pytest.approx(whole.sqnr_db, abs=0.1)  # refined for that very set


def test_the_command_equalises_and_shows_the_gain(calibrated):
    words = ["quantize", str(calibrated), "--refine", "bias,equalize", "--refine-data", "digits"]
    result = RUNNER.invoke(app, [*words, "--refine-images", "16", "--json"])
    assert result.exit_code == 0, result.output
    gains = json.loads(result.stdout)["gains"]
    assert [gain["step"] for gain in gains] == ["rounding to nearest", "equalize", "equalize + bias"]
    assert "equalize + bias: agreement" in result.stderr
    wrong = RUNNER.invoke(app, ["quantize", str(calibrated), "--refine", "equalise", "--refine-data", "digits"])
    assert wrong.exit_code == 2 and "'equalise' is no refinement" in wrong.stderr and "equalize" in wrong.stderr


def test_training_starts_from_the_numbers_of_an_equalised_file(case, calibrated):
    """QAT computes its weights from the FP32 file's: where channels were scaled it has to find that out."""
    refine = RefineOptions(refinements=("equalize",), data="digits", num_images=24)
    file = quantize_onnx(QuantizeOptions(onnx=calibrated, refine=refine, float_precision=Precision.FP32)).file
    model = read_onnx(file)
    net = TrainableGraph(model, original=case.model)
    old, new = _constants(model), _constants(net.onnx_of(model))
    for name, values in old.items():
        if values.dtype == np.int8:
            np.testing.assert_array_equal(new[name], values)
        else:
            np.testing.assert_allclose(new[name], values, rtol=3e-7)  # a product of three float32 numbers
    with torch.no_grad():
        logits = net(torch.from_numpy(case.other)).numpy()
    # Of a few images a value falls to the other side of a rounding; the others differ by the order of sums.
    assert np.median(np.abs(logits - _logits(model, case.other)).max(axis=1)) < 1e-3
