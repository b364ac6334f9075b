"""Calibration and quantisation of files that give something else than logits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import OutputKind, Precision
from resnet_deploy.export import forms
from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
from resnet_deploy.export.outputs import read_output
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.auto_scales import _signed_sum
from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.quantize import QuantizeOptions, quantize_onnx
from resnet_deploy.quant.refine import RefineOptions
from resnet_deploy.quant.scoring import load_scoring_images
from resnet_deploy.quant.table import read_table
from resnet_deploy.verify.parity import ParityMeter
from tests.reference.small_networks import resnet8_onnx


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Exports resnet8 with some output; the graph is traced once for all tests."""
    monkeypatch.setattr(forms, "onnx_from_torch", lambda net, preprocess: resnet8_onnx())

    def make(output: str, **options):
        file = tmp_path / f"{output}.fp32.onnx"
        return export_onnx(ExportOptions(net="resnet8", output=read_output(output), out=file, **options)).file

    return make


def _calibrated(file, method: str = "max"):
    return calibrate(CalibrateOptions(onnx=file, data="digits", num_images=8, num_threads=1, method=method))


def _outputs(file, images):
    session = open_session(read_onnx(file))
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def test_the_head_changes_nothing_of_calibration_and_quantisation(export):
    """Same scales, same int8 weights, and the probabilities are the softmax of the logits file's logits."""
    files = [export("logits"), export("softmax"), export("topk")]
    for file in files:
        _calibrated(file, "auto")
    tables = [read_table(file.with_name(file.name.replace("fp32.onnx", "calib.json"))) for file in files]
    assert tables[0].tensors == tables[1].tensors == tables[2].tensors
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    found = [_outputs(quantize_onnx(QuantizeOptions(onnx=file)).file, images) for file in files]
    logits = torch.from_numpy(found[0]["logits"])
    wanted = logits.softmax(dim=1).numpy()
    # the same FP32 softmax by other code
    np.testing.assert_allclose(found[1]["probabilities"], wanted, rtol=16 * 2.0**-24)
    best = logits.softmax(dim=1).topk(5)
    np.testing.assert_allclose(found[2]["scores"], best.values.numpy(), rtol=16 * 2.0**-24)
    assert found[2]["classes"].dtype == np.int32


@pytest.mark.parametrize("method", ["max", "entropy", "mse", "percentile:99.9", "auto"])
@pytest.mark.parametrize(("output", "num_layers"), [("features", 7), ("c0,c1,c2", 7), ("c1", 5)])
def test_features_and_maps_are_float_outputs_of_an_int8_network(export, output, num_layers, method):
    file = export(output)
    _calibrated(file, method)
    result = quantize_onnx(QuantizeOptions(onnx=file))
    # resnet8's shortcuts hold no convolution: 1 + 2 a stage
    assert result.num_layers == num_layers and result.audit
    images = np.random.default_rng(1).standard_normal((8, 3, 32, 32), dtype=np.float32)
    wanted, found = _outputs(file, images), _outputs(result.file, images)
    assert list(found) == list(wanted)
    for name, values in found.items():
        meter = ParityMeter()
        meter.add(wanted[name].reshape(8, -1), values.reshape(8, -1))
        # Noise clips at amax of digits; a graph that lost a scale or a layer is below 0 dB.
        assert values.dtype == np.float32 and meter.result().sqnr_db > 5, name
    manifest = read_manifest(result.file, kind="onnx")
    assert manifest.net.output is read_output(output).kind and manifest.precision is Precision.INT8


def test_a_fixed_batch_is_freed_for_calibration_and_stands_in_the_int8_file(export):
    file = export("topk", batch=3)
    free = read_network(file, read_manifest(file))
    assert free.batch == 3 and [value.name for value in free.model.graph.output] == ["logits"]
    _calibrated(file)
    graph = onnx.load(quantize_onnx(QuantizeOptions(onnx=file)).file).graph
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert shapes == [[3, 3, 32, 32], [3, 5], [3, 5]]


def test_the_signed_sum_measures_the_energy_of_the_errors():
    """Hutchinson's estimator against the exact value; without signs it would be the square of a sum."""
    generator = torch.Generator().manual_seed(0)
    # errors that all have one sign: a plain sum piles them up
    weight, x, error, other = (torch.rand(*shape, generator=generator) for shape in ((6, 4), (4,), (4,), (3, 4)))
    squares = []
    for seed in range(600):
        values = x.clone().requires_grad_(True)
        _signed_sum([weight @ values, other @ values], seed=seed).backward()
        squares.append(float(values.grad @ error) ** 2)
    wanted = sum(float((w @ error).square().sum() / (w @ x).square().sum()) for w in (weight, other))
    # the relative deviation of one draw is at most sqrt(2): five of those of the mean of 600
    assert np.mean(squares) == pytest.approx(wanted, rel=5 * (2 / 600) ** 0.5)
    plain = sum(float((w @ error).sum() / (w @ x).norm()) for w in (weight, other)) ** 2
    assert plain != pytest.approx(wanted, rel=5 * (2 / 600) ** 0.5)


def test_auto_gives_the_same_table_whatever_the_threads(export):
    tables = []
    for threads in (1, 3):
        file = export("c0,c1,c2")
        options = {"data": "digits", "num_images": 6, "method": "auto", "force": True}
        tables.append(read_table(calibrate(CalibrateOptions(onnx=file, num_threads=threads, **options)).file))
    assert tables[0] == tables[1]


def test_what_compares_decisions_refuses_features(export):
    file = export("features")
    _calibrated(file)
    assert read_manifest(file).net.output is OutputKind.FEATURES
    with pytest.raises(ConfigError, match="gives features, refinement compares which classes"):
        quantize_onnx(QuantizeOptions(onnx=file, refine=RefineOptions(refinements=("bias",), data="digits")))
    with pytest.raises(ConfigError, match="gives features, this search compares"):
        load_scoring_images(file, read_manifest(file), data="digits", split="val", num_images=4, seed=0)


def test_refinement_works_through_the_head(export):
    file = export("softmax")
    _calibrated(file)
    result = quantize_onnx(
        QuantizeOptions(onnx=file, refine=RefineOptions(refinements=("bias",), data="digits", num_images=4))
    )
    assert result.gains and [v.name for v in onnx.load(result.file).graph.output] == ["probabilities"]
