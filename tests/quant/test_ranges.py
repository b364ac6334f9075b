from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.errors import CalibrationError, ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import write_onnx
from resnet_deploy.graph.float16 import fp16_from_fp32
from resnet_deploy.graph.session import open_session
from resnet_deploy.quant.magnitudes import MagnitudeHistogram
from resnet_deploy.quant.ranges import RangesOptions, find_ranges, forecast
from resnet_deploy.quant.sample import SampleOptions
from tests.reference.small_networks import resnet8_onnx

RUNNER = CliRunner()


@pytest.fixture
def changed(exported, tmp_path):
    """changed(weight, factor) -> the exported network with one weight multiplied."""

    def make(name: str, factor: float):
        model = onnx.load(exported)
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
        file = tmp_path / "changed.fp32.onnx"
        write_onnx(model, file)
        parent = read_manifest(exported)
        write_manifest(file, kind="onnx", stage="export", parent=parent, precision=parent.precision)
        return file

    return make


def _options(file, *precisions: Precision) -> RangesOptions:
    sample = SampleOptions(onnx=file, data="noise", num_images=3, num_threads=1)
    return RangesOptions(sample=sample, precisions=precisions or (Precision.FP16, Precision.BF16))


def _of(found, precision):
    return next(f for f in found.forecasts if f.precision is precision)


def test_a_sound_network_fits_everywhere(exported):
    found = find_ranges(_options(exported, Precision.FP16, Precision.BF16, Precision.FP8, Precision.INT8))
    assert found and all(found.forecasts) and found.num_images == 3
    model = onnx.load(exported)
    floats = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    names = ["images", *(node.output[0] for node in model.graph.node), *floats]
    assert [r.tensor for r in found.forecasts[0].ranges] == names and found.num_tensors == len(names)


@pytest.mark.parametrize("factor", [5e4, 1e6])
def test_the_tensor_that_overflows_is_named_first(changed, factor):
    found = find_ranges(_options(changed("layer2.0.conv1.weight", factor)))
    assert not found
    fp16, bf16 = found.forecasts
    first = fp16.findings[0]
    expected = "layer2.0.conv1" if factor == 5e4 else "layer2.0.conv1.weight"
    kinds = {finding.tensor: finding.kind for finding in fp16.findings}
    assert not fp16 and kinds[expected] == "overflow" and first.kind == "overflow"
    assert first.tensor == "layer2.0.conv1" and "FP16 ends at 65504" in first.figures and "bf16" in first.remedy
    assert bf16 and not bf16.findings


def test_the_forecast_is_what_fp16_does(changed):
    """Overflow is forecast exactly where the converted network has infinities."""
    file = changed("layer2.0.conv1.weight", 5e4)
    found = _of(find_ranges(_options(file)), Precision.FP16)
    half = fp16_from_fp32(onnx.load(file))
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    for overflows in (True, False):
        half.graph.output.append(onnx.helper.make_tensor_value_info("layer2.0.conv1", onnx.TensorProto.FLOAT16, None))
        values = open_session(half).run(["layer2.0.conv1"], {"images": images})[0]
        assert np.isinf(values).any() == overflows
        half = fp16_from_fp32(resnet8_onnx())
    assert "layer2.0.conv1" in {finding.tensor for finding in found.findings}
    assert "layer1.0.conv1" not in {finding.tensor for finding in found.findings}


def test_int8_and_fp8_overflow_where_they_leave_fp16(changed):
    found = find_ranges(_options(changed("layer2.0.conv1.weight", 5e4), Precision.INT8, Precision.FP8))
    for one in found.forecasts:
        assert not one
        assert {r.stored_as for r in one.ranges} == {one.precision, Precision.FP16}
        finding = next(finding for finding in one.findings if finding.kind == "overflow")
        assert finding.tensor == "layer2.0.conv1" and "--float bf16" in finding.remedy
        weight = next(r for r in one.ranges if r.tensor == "layer2.0.conv1.weight")
        assert weight.stored_as is (Precision.INT8 if one.precision is Precision.INT8 else Precision.FP16)


def _forecast(values, precision, *, weights=None, max_lost=0.01):
    """What is forecast for resnet8's tensor `images` with these values, all others being ones."""
    model = resnet8_onnx()
    seen = {}
    for name in ["images", *(node.output[0] for node in model.graph.node)]:
        seen[name] = MagnitudeHistogram()
        seen[name].update(np.float32(values if name == "images" else [1.0]))
    return forecast(model, seen, weights or {}, precision, max_lost=max_lost)


@pytest.mark.parametrize(
    ("largest", "kind"),
    [(65519.0, "near overflow"), (65520.0, "overflow"), (65504 / 3.9, "near overflow"), (65504 / 4.1, None)],
)
def test_fp16_overflow_begins_where_rounding_gives_infinity(largest, kind):
    found = _forecast([1.0, -largest], Precision.FP16)
    assert [finding.kind for finding in found.findings] == ([kind] if kind else [])
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(np.float32(largest))) == (kind == "overflow") == (not found)


def test_values_that_fp16_has_no_numbers_for_are_counted():
    values = [2.0**-16] * 98 + [2.0**-26] * 2 + [0.0] * 900
    found = _forecast(values, Precision.FP16)
    images = found.ranges[0]
    assert (images.share_coarse, images.share_zero) == (1.0, 0.02)
    # Steps of 2^-24 round by 2^-50 / 3 in the mean square, of 2^-32: -58 dB; what becomes 0 is far below that.
    # Bins stand at their middle, a sixteenth above the power of two, which gives 10 * log10(17/16)^2 = 0.5 dB.
    assert 10 * np.log10(images.error_energy) == pytest.approx(10 * np.log10(2.0**-18 / 3), abs=0.6)
    finding = found.findings[0]
    assert (
        finding.kind == "underflow" and "100 % of its values are too small for FP16 (2 % become 0)" in finding.figures
    )
    assert "59 dB below the tensor" in finding.figures
    assert found  # an underflow alone does not fail
    assert not _forecast(values, Precision.FP16, max_lost=1.0).findings
    assert not _forecast(values, Precision.BF16).findings


def test_the_error_is_what_rounding_to_fp16_makes():
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * np.float32(2.0**-20)
    found = _forecast(values, Precision.FP16).ranges[0]
    lost = values.astype(np.float64) - values.astype(np.float16).astype(np.float64)
    # Bins' middles, an eighth of an octave wide, and errors spread evenly over a step: within 5 %.
    assert found.error_energy == pytest.approx((lost**2).sum() / (values.astype(np.float64) ** 2).sum(), rel=0.05)


def test_small_values_beside_large_ones_do_no_harm_and_are_not_named():
    """Half of the values are coarse, but their error is 2^-50 of the energy: far below FP16's own rounding."""
    found = _forecast([1.0, 2.0**-15], Precision.FP16)
    assert found.ranges[0].share_coarse == 0.5 and not found.findings


def test_int8_loses_what_an_outlier_pushes_below_half_a_step():
    values = [0.3] * 1000 + [100.0]  # step 100 / 127, half of it 0.39
    found = _forecast(values, Precision.INT8)
    images = found.ranges[0]
    assert images.share_zero == pytest.approx(1000 / 1001, rel=1e-6)
    # 1000 * 0.09 of 10090: 0.9 % of the energy is below the line of 1 %; twice as many are above.
    assert not found.findings
    found = _forecast([0.3] * 2000 + [100.0], Precision.INT8)
    assert [finding.kind for finding in found.findings] == ["underflow"]
    assert "percentile" in found.findings[0].remedy
    assert not _forecast([0.3] * 2000 + [100.0], Precision.FP16).findings


def test_a_weight_with_a_scale_per_channel_is_measured_channel_by_channel():
    weight = np.ones((16, 3, 3, 3), np.float32)
    weight[0] = 1e-6  # one scale for all would lose this channel
    found = _forecast([1.0], Precision.INT8, weights={"conv1.weight": weight})
    assert found.ranges[-1].tensor == "conv1.weight" and found.ranges[-1].share_zero == 0
    weight[1, 0, 0, 0] = 1000.0  # here it is within the channel
    found = _forecast([1.0], Precision.INT8, weights={"conv1.weight": weight})
    assert found.ranges[-1].share_zero == pytest.approx(26 / 432)


def test_not_a_number_is_refused_by_name(changed):
    with pytest.raises(CalibrationError, match=r"'layer2\.0\.conv1\.weight' holds NaN"):
        find_ranges(_options(changed("layer2.0.conv1.weight", np.nan)))


def test_options_say_what_they_expect():
    sample = SampleOptions(onnx="a.onnx", data="noise")
    with pytest.raises(ConfigError, match="fp32, expected fp16, bf16, fp8, int8"):
        RangesOptions(sample=sample, precisions=(Precision.FP32,))
    with pytest.raises(ConfigError, match="max_lost is 2"):
        RangesOptions(sample=sample, max_lost=2)


def test_the_command_fails_where_a_precision_overflows(changed, exported):
    words = ["ranges", str(changed("layer2.0.conv1.weight", 5e4)), "--data", "noise", "--images", "2"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 1, result.output
    assert "overflows in fp16 and fp8 and int8" in result.stderr and "more findings" in result.stderr
    assert "layer2.0.conv1" in result.stdout
    assert RUNNER.invoke(app, [*words, "--precision", "bf16"]).exit_code == 0
    result = RUNNER.invoke(app, ["ranges", str(exported), "--data", "noise", "--images", "2", "--json"])
    assert result.exit_code == 0, result.output
    forecasts = json.loads(result.stdout)["forecasts"]
    assert [(f["precision"], f["passed"]) for f in forecasts] == [
        ("fp16", True), ("bf16", True), ("fp8", True), ("int8", True)
    ]  # fmt: skip


def test_the_command_refuses_an_unknown_precision():
    result = RUNNER.invoke(app, ["ranges", "absent.onnx", "--data", "noise", "--precision", "fp16,int4"])
    assert result.exit_code == 2 and "'int4', expected any of fp16, bf16, fp8, int8" in result.stderr
