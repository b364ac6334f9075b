from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import CalibrationError
from resnet_deploy.quant.outliers import ChannelStatistics, activation_profile, weight_profile
from resnet_deploy.quant.placement import find_placement
from resnet_deploy.quant.prescan import advise
from tests.reference.small_networks import resnet8_onnx

RUNNER = CliRunner()


def _profile(values: np.ndarray):
    seen = ChannelStatistics()
    seen.update(values.astype(np.float32))
    return activation_profile("layer1.0.relu", seen)


def _advice(activations=(), weights=()):
    model = resnet8_onnx()
    return advise(model, find_placement(model), weights, activations)


def _ordinary() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, (4, 16, 32, 32))


def test_sqnr_of_an_activation_is_that_of_rounding_it() -> None:
    """Oracle: the rounding itself. The histogram knows a value to 1/2048 of the largest, 1/16 of a step."""
    values = np.random.default_rng(1).standard_normal((4, 16, 32, 32)).astype(np.float32)
    scale = np.abs(values).max() / 127
    errors = np.clip(np.rint(values / scale), -128, 127) * scale - values
    expected = 10 * np.log10(np.square(values).sum() / np.square(errors).sum())
    assert _profile(values).sqnr_max_db == pytest.approx(expected, abs=0.1)


def test_ordinary_values_call_for_nothing() -> None:
    profile = _profile(_ordinary())
    assert profile.outlier_ratio == pytest.approx(1.0, abs=0.01) and profile.num_dead_channels == 0
    assert _advice([profile]) == ()


def test_one_outlier_calls_for_another_method_with_the_figures() -> None:
    values = _ordinary()
    values[0, 0, 0, 0] = 40.0  # ten times the rest, and rarer than 1 in 10,000
    advice = _advice([_profile(values)])
    assert [a.action for a in advice] == ["method"]
    assert "--method percentile:99.99 rather than max" in advice[0].text
    assert "worst layer1.0.relu: 10.0 x" in advice[0].figures


def test_entropy_that_clips_what_counts_calls_for_another_method() -> None:
    profile = replace(_profile(_ordinary()), sqnr_entropy_db=30.0, sqnr_mse_db=38.0)
    advice = _advice([profile, replace(profile, tensor="other", sqnr_entropy_db=37.0)])
    assert [a.text for a in advice] == ["calibrate with --method mse rather than entropy"]
    assert "1 of 2 tensors" in advice[0].figures and "30.0 dB against 38.0 dB" in advice[0].figures


def test_a_tensor_that_no_scale_fits_is_to_stay_in_float() -> None:
    advice = _advice([replace(_profile(_ordinary()), sqnr_max_db=12.0, sqnr_entropy_db=12.0, sqnr_mse_db=12.0)])
    assert [a.action for a in advice] == ["keep-float"]
    assert advice[0].text.endswith("--keep-float layer1.0.relu") and "12.0 dB" in advice[0].figures
    assert "layer1.0.conv2" in advice[0].figures  # who reads it


def test_one_channel_far_larger_than_the_others_calls_for_equalisation() -> None:
    values = _ordinary()
    values[:, 3] *= 40
    advice = [a for a in _advice([_profile(values)]) if a.action == "equalise"]
    assert advice[0].text == "equalise layer1.0.conv1 with layer1.0.conv2" and "40 x its median" in advice[0].figures


def test_weight_figures_are_counted_by_hand() -> None:
    weight = np.zeros((3, 4), np.float32)
    weight[0] = [127, 1, -1, 0.4]  # scale 1: the last becomes 0
    weight[1] = [2, -2, 2, -2]
    profile = weight_profile(weight, axis=0, node="fc", name="w")
    assert profile.num_zero_channels == 1 and profile.share_to_zero == pytest.approx(1 / 8)
    assert profile.worst_peak == pytest.approx(127 / np.sqrt((127**2 + 2 + 0.16) / 4))
    assert profile.channel_spread == pytest.approx(127 / 64.5)  # the median of 127 and 2
    # signal 127^2 + 2 + 0.16 + 16, noise 0.4^2; the scales of 2 / 127 are exact to 2^-24
    assert profile.sqnr_db == pytest.approx(10 * np.log10((127**2 + 18.16) / 0.16), abs=0.01)
    actions = {a.action: a for a in _advice(weights=[profile])}
    assert "1 of 3 output channels" in actions["note"].figures


def test_a_weight_with_a_huge_outlier_is_to_stay_in_float() -> None:
    weight = np.random.default_rng(4).standard_normal((4, 4096)).astype(np.float32)
    weight[0, 0] = 2000
    profile = weight_profile(weight[:1], axis=0, node="layer1.0.conv1", name="w")
    advice = _advice(weights=[profile])
    assert profile.share_to_zero > 0.99 and {a.action for a in advice} == {"note"}  # the outlier holds the energy
    mild = np.where(weight > 100, 60, weight)
    advice = _advice(weights=[weight_profile(mild[:1], axis=0, node="layer1.0.conv1", name="w")])
    assert any(a.text.endswith("--exclude layer1.0.conv1") for a in advice)


def test_merged_shards_are_the_whole() -> None:
    values = _ordinary().astype(np.float32)
    whole, first, second = ChannelStatistics(), ChannelStatistics(), ChannelStatistics()
    whole.update(values)
    first.update(values[:1])
    second.update(values[1:])
    first.merge(second)
    assert activation_profile("t", first) == activation_profile("t", whole)


def test_a_dead_tensor_is_named() -> None:
    profile = _profile(np.zeros((1, 16, 4, 4)))
    assert profile.num_dead_channels == 16 and profile.sqnr_max_db is None
    assert [a.text for a in _advice([profile])] == ["always zero on these images"]


def test_nan_in_a_weight_names_it() -> None:
    with pytest.raises(CalibrationError, match="'w' holds NaN"):
        weight_profile(np.full((2, 2), np.nan, np.float32), axis=0, node="fc", name="w")


def test_the_command_looks_at_weights_and_with_data_at_activations(exported) -> None:
    result = RUNNER.invoke(app, ["scan", str(exported)])
    assert result.exit_code == 0 and "weights only" in result.stderr, result.output
    words = ["scan", str(exported), "--data", "digits", "--images", "4", "--threads", "1"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0 and "dead channels" in result.stdout, result.output
    document = json.loads(RUNNER.invoke(app, [*words, "--json"]).stdout)
    assert len(document["activations"]) == 9 and len(document["weights"]) == 8 and document["num_images"] == 4


def test_wrong_usage_is_one_message(exported) -> None:
    for words, message in ((["absent.onnx"], "no such file"), ([str(exported), "--skip-bad", "1"], "none were named")):
        result = RUNNER.invoke(app, ["scan", *words])
        assert result.exit_code == 2 and message in result.stderr


def test_no_int8_file_is_written_from_ranges_that_were_never_calibrated(exported, tmp_path) -> None:
    """Neither without a table nor with one that lacks a tensor."""
    words = ["quantize", str(exported), "--out", str(tmp_path / "a.onnx")]
    result = RUNNER.invoke(app, [*words, "--table", str(tmp_path / "absent.json")])
    assert result.exit_code == 2 and "no such calibration table" in result.stderr
    from resnet_deploy.core.artifacts import read_manifest
    from resnet_deploy.quant.table import write_table
    from tests.reference.small_networks import make_table

    table = make_table(onnx.load(exported))
    del table.tensors["relu"]
    object.__setattr__(table, "network_sha256", read_manifest(exported).sha256)
    write_table(table, tmp_path / "part.json")
    result = RUNNER.invoke(app, [*words, "--table", str(tmp_path / "part.json")])
    assert result.exit_code == 2 and "no tensor 'relu'" in result.stderr
    assert not (tmp_path / "a.onnx").exists()
