from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.graph.files import read_onnx
from resnet_deploy.quant import sensitivity as module
from resnet_deploy.quant.scoring import load_scoring_images, logits_of_model, score_logits
from resnet_deploy.quant.sensitivity import SensitivityOptions, analyze_sensitivity
from resnet_deploy.quant.table import read_table
from tests.reference.small_networks import quantize_model

RUNNER = CliRunner()


def _options(onnx, **others) -> SensitivityOptions:
    given = {"data": "digits", "split": "test", "num_images": 40, "num_measured": 3, "num_threads": 1}
    return SensitivityOptions(onnx=onnx, **(given | others))


@pytest.mark.parametrize("exact_input", [True, False])
def test_a_spared_layer_scores_as_the_file_without_it_does(calibrated, exact_input: bool) -> None:
    """Oracle: `quantize --exclude` of the same layer, in FP32 elsewhere."""
    report = analyze_sensitivity(_options(calibrated, exact_input=exact_input))
    assert (report.exact_input == "exact") is exact_input
    worst = next(unit for unit in report.units if unit.alone is not None)
    model, table = read_onnx(calibrated), read_table(calibrated.with_name("net.calib.json"))
    manifest = read_manifest(calibrated)
    images = load_scoring_images(
        calibrated, manifest, data="digits", split="test", num_images=40, seed=0, num_threads=1
    )

    def score(exclude: tuple[str, ...]):
        graph, _ = quantize_model(
            model,
            table,
            float_precision=Precision.FP32,
            exclude=exclude,
            preprocess=manifest.preprocess if exact_input else None,
        )
        return score_logits(logits_of_model(graph, images.batches(), 1), images)

    assert report.int8 == score(())
    assert worst.spared == score(worst.nodes)
    assert worst.alone.sqnr_db > report.int8.sqnr_db


def test_a_layer_with_a_scale_that_is_far_too_coarse_comes_first(calibrated) -> None:
    path = calibrated.with_name("net.calib.json")
    plain = json.loads(path.read_text())
    plain["tensors"]["layer2.0.relu"]["scale"] *= 30  # planted
    path.write_text(json.dumps(plain))
    units = analyze_sensitivity(_options(calibrated, table=path)).units
    assert units[0].name == "layer2.0.conv2"
    assert units[0].noise_share > 0.5 and units[0].alone.sqnr_db < units[1].alone.sqnr_db


def test_with_an_exact_input_the_first_convolution_alone_harms_less(calibrated) -> None:
    """Its input is not rounded then; what is left is the rounding of its weights."""
    exact, rounded = (
        next(
            unit
            for unit in analyze_sensitivity(_options(calibrated, exact_input=given, num_measured=0)).units
            if unit.name == "conv1"
        )
        for given in (True, False)
    )
    assert exact.predicted_alone > rounded.predicted_alone


def test_a_tensorrt_cache_stands_in_for_the_table(calibrated) -> None:
    from resnet_deploy.quant.trt_cache import write_calibration_cache

    table = calibrated.with_name("net.calib.json")
    cache = calibrated.with_name("net.cache")
    write_calibration_cache(read_table(table), read_onnx(calibrated), cache)
    of_table, of_cache = (
        analyze_sensitivity(_options(calibrated, table=file, num_measured=1)) for file in (table, cache)
    )
    assert not of_cache.skipped and (of_cache.units, of_cache.int8) == (of_table.units, of_table.int8)


def test_blocks_hold_all_their_layers_and_a_picture_and_numbers_are_written(calibrated) -> None:
    report = analyze_sensitivity(_options(calibrated, by="block", num_measured=0))
    assert {unit.name for unit in report.units} == {"stem", "layer1.0", "layer2.0", "layer3.0", "fc"}
    assert sum(unit.multiply_adds_share for unit in report.units) == pytest.approx(1.0)
    assert all(unit.alone is None for unit in report.units)
    assert report.picture == calibrated.with_name("net.sensitivity.png") and report.picture.is_file()
    assert json.loads(report.file.read_text())["by"] == "block"
    again = analyze_sensitivity(_options(calibrated, by="block", num_measured=0))
    assert again.skipped and again.units == report.units


def test_an_interrupted_run_goes_on(calibrated, monkeypatch) -> None:
    real, runs = module.logits_of_model, []

    def dying(*arguments):
        runs.append(arguments)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "logits_of_model", dying)
    with pytest.raises(KeyboardInterrupt):
        analyze_sensitivity(_options(calibrated))
    report = analyze_sensitivity(_options(calibrated))
    assert report.num_reused == 2 and len(runs) - 3 == 1 + 2 * 3 - 2
    assert not list(calibrated.parent.glob("*.jsonl"))


def test_the_command_prints_a_table_or_one_document(calibrated) -> None:
    words = ["sensitivity", str(calibrated), "--data", "digits", "--images", "16", "--measure", "1", "--threads", "1"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "layer1.0.conv1" in result.stdout and "everything int8: agreement" in result.stdout
    report = json.loads(RUNNER.invoke(app, [*words, "--json"]).stdout)
    assert len(report["units"]) == 12 and report["skipped"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no images were named"),
        (["--data", "digits", "--table", "absent.calib.json"], "absent.calib.json: no such calibration table"),
        (["--data", "digits", "--by", "stage"], "by is 'stage'"),
        (["--data", "digits", "--metric", "loss"], "metric is 'loss'"),
        (["--data", "digits", "--out", "a.json"], "must end in .png"),
        (["--data", "noise", "--images", "2", "--metric", "top1"], "needs labels"),
    ],
)
def test_wrong_usage_is_one_message(calibrated, words: list[str], message: str) -> None:
    result = RUNNER.invoke(app, ["sensitivity", str(calibrated), *words])
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split()) and "Traceback" not in result.stderr


def test_negative_counts_are_refused(calibrated) -> None:
    with pytest.raises(ConfigError, match="num_measured -1"):
        _options(calibrated, num_measured=-1)
