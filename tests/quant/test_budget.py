from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.artifacts import read_manifest
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision
from resnet_deploy.quant import budget as budget_module
from resnet_deploy.quant import candidates as candidates_module
from resnet_deploy.quant.budget import BudgetOptions, quantize_within_budget
from resnet_deploy.quant.budget_search import Limits
from resnet_deploy.quant.quantize import QuantizeOptions
from resnet_deploy.quant.refine import RefineOptions
from resnet_deploy.quant.scoring import load_scoring_images, score_logits

RUNNER = CliRunner()


def _budget(limits: Limits, **others) -> BudgetOptions:
    return BudgetOptions(limits=limits, data="digits", split="test", num_images=60, num_threads=1, **others)


def _images(file):
    return load_scoring_images(
        file, read_manifest(file), data="digits", split="test", num_images=60, seed=0, num_threads=1
    )


def test_the_score_is_that_of_the_file_on_the_disk(calibrated) -> None:
    """Oracle: ONNX Runtime as it comes, on the delivered bytes."""
    result, outcome = quantize_within_budget(QuantizeOptions(onnx=calibrated), _budget(Limits(min_agreement=0.5)))
    assert outcome.met and result.file == outcome.file
    assert set(outcome.float_nodes) == {refusal.node for refusal in result.refusals}
    images = _images(calibrated)
    session = onnxruntime.InferenceSession(
        str(outcome.file), disabled_optimizers=["WeightBiasQuantization"], providers=["CPUExecutionProvider"]
    )
    logits = np.concatenate([session.run(None, {"images": batch})[0] for batch in images.batches()])
    again = score_logits(logits, images)
    assert (again.num_agreeing, again.drop) == (outcome.delivered.num_agreeing, outcome.delivered.drop)


def test_a_search_writes_its_front_as_json_and_png_and_is_not_repeated(calibrated, monkeypatch) -> None:
    limits = Limits(min_agreement=0.97, max_drop=20.0)
    _, first = quantize_within_budget(QuantizeOptions(onnx=calibrated), _budget(limits))
    plain = json.loads(first.report.read_text())
    assert plain["met"] is first.met and len(plain["points"]) == len(first.points) > 3
    assert read_manifest(first.report).kind == "analysis" and first.picture.read_bytes()[1:4] == b"PNG"
    measured = [point for point in first.points if point.score is not None]
    front = [point.score.agreement for point in measured if point.is_on_front]
    assert front == sorted(front) and len(front) >= 1  # dearer points are on the front only where they are better
    assert not list(calibrated.parent.glob("*.jsonl"))
    monkeypatch.setattr(budget_module, "search", pytest.fail)
    result, again = quantize_within_budget(QuantizeOptions(onnx=calibrated), _budget(limits))
    assert again.skipped and result.skipped and again.delivered == first.delivered
    first.file.write_bytes(first.file.read_bytes() + b"\0")  # another file than the one that was scored
    monkeypatch.undo()
    assert not quantize_within_budget(QuantizeOptions(onnx=calibrated), _budget(limits))[1].skipped


def test_a_killed_search_goes_on_with_the_scores_it_had(calibrated, monkeypatch) -> None:
    options, budget = QuantizeOptions(onnx=calibrated), _budget(Limits(min_agreement=0.97))
    real, runs = candidates_module.logits_of_model, []

    def dying(*arguments):  # graph, batches, threads
        runs.append(arguments[0].SerializeToString())
        if len(runs) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(candidates_module, "logits_of_model", dying)
    with pytest.raises(KeyboardInterrupt):
        quantize_within_budget(options, budget)
    _, outcome = quantize_within_budget(options, budget)
    assert outcome.num_measured > 3 and not set(runs[:3]) & set(runs[4:])  # three scores were there
    assert not list(calibrated.parent.glob("*.jsonl"))


def test_what_the_user_keeps_in_float_stays_there(calibrated) -> None:
    options = QuantizeOptions(onnx=calibrated, exclude=("fc",), keep_float=("relu",))
    _, outcome = quantize_within_budget(options, _budget(Limits(min_agreement=0.0)))
    assert outcome.met and set(outcome.float_nodes) == {"fc", "layer1.0.conv1", "layer1.0.add"}
    assert outcome.num_additions_in_float == 1
    assert outcome.multiply_adds_in_float == pytest.approx((2359296 + 640) / 12239488)


def test_a_limit_that_can_not_be_held_exits_with_1_and_leaves_the_best_file(calibrated, monkeypatch) -> None:
    real = candidates_module.score_logits

    def worse(logits, images):
        return real(-logits, images)  # a fault in the delivered network: every decision is turned round

    monkeypatch.setattr(candidates_module, "score_logits", worse)
    words = ["quantize", str(calibrated), "--min-agreement", "0.99", "--data", "digits", "--split", "test"]
    result = RUNNER.invoke(app, [*words, "--images", "20", "--threads", "1", "--json"])
    assert result.exit_code == 1, result.output
    outcome = json.loads(result.stdout)["budget"]
    assert outcome["met"] is False and outcome["delivered"]["agreement"] < 0.5
    assert calibrated.with_name("net.int8.onnx").is_file()


def test_the_command_shows_both_scores_and_the_verdict(calibrated) -> None:
    words = ["quantize", str(calibrated), "--max-drop", "50", "--data", "digits", "--split", "test", "--images", "20"]
    result = RUNNER.invoke(app, [*words, "--cost", "roofline", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert "budget met" in result.stdout and "all int8" in result.stdout and "by roofline" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-agreement", "0.99"], "needs images"),
        (["--min-agreement", "99", "--data", "digits"], "min_agreement is 99.0"),
        (["--data", "digits"], "--data belong to an accuracy budget"),
        (["--confident"], "--confident belong"),
        (["--max-drop", "0.1", "--data", "noise"], "has no labels"),
        (["--min-agreement", "0.9", "--data", "noise", "--images", "2", "--cost", "x"], "x: no such file"),
        (["--min-agreement", "0.9", "--data", "noise", "--precision", "fp8"], "int8 only"),
        (["--min-agreement", "0.9", "--data", "noise", "--images", "2", "--float", "bf16"], "int8 with bf16"),
        (["--keep-float", "logits"], "'logits'"),
    ],
)
def test_wrong_usage_is_one_message(calibrated, words: list[str], message: str) -> None:
    result = RUNNER.invoke(app, ["quantize", str(calibrated), *words])
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split()) and "Traceback" not in result.stderr


def test_other_precisions_and_negative_counts_are_refused(calibrated) -> None:
    with pytest.raises(ConfigError, match="not for fp8"):
        quantize_within_budget(
            QuantizeOptions(onnx=calibrated, precision=Precision.FP8), _budget(Limits(min_agreement=0.9))
        )
    with pytest.raises(ConfigError, match="num_images -1"):
        BudgetOptions(limits=Limits(min_agreement=0.9), data="digits", num_images=-1)


def test_a_refined_file_is_searched_with_refined_constants(calibrated) -> None:
    """With bias correction the int8 network itself scores otherwise, and the delivered file is refined too."""
    refine = RefineOptions(refinements=("bias",), data="digits", split="train", num_images=16)
    plain = quantize_within_budget(QuantizeOptions(onnx=calibrated), _budget(Limits(min_agreement=0.0)))[1]
    options = QuantizeOptions(onnx=calibrated, refine=refine)
    result, outcome = quantize_within_budget(options, _budget(Limits(min_agreement=0.0)))
    assert result.gains and outcome.float_nodes == plain.float_nodes == ()
    assert outcome.int8.sqnr_db != plain.int8.sqnr_db
    # the delivered file differs from what was searched with in FP16 rounding of its few float operations only
    assert outcome.delivered.sqnr_db == pytest.approx(outcome.int8.sqnr_db, abs=0.5)
