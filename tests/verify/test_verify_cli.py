from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import ExitCode


def _run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_evaluate_prints_one_json_document(save_linear) -> None:
    file = save_linear("a.onnx")
    result = _run("evaluate", f"onnxruntime:{file}", "--data", "digits", "--split", "val", "--images", 50, "--json")
    assert result.exit_code == ExitCode.DONE, result.output
    answer = json.loads(result.stdout)
    assert answer["num_images"] == 50 and answer["top1_low"] < answer["top1_percent"] < answer["top1_high"]


def test_evaluate_shows_a_table_and_classes(save_linear) -> None:
    result = _run("evaluate", save_linear("a.onnx"), "--data", "digits", "--split", "val", "--per-class")
    assert result.exit_code == ExitCode.DONE and "top-1" in result.stdout and "By class" in result.stdout


def test_validate_ends_with_0_or_1_and_writes_the_verdict(save_linear) -> None:
    reference, sound = save_linear("ref.onnx"), save_linear("sound.onnx")
    words = ("--reference", reference, "--data", "digits", "--split", "val")
    passed = _run("validate", sound, *words)
    assert passed.exit_code == ExitCode.DONE and "PASSED" in passed.stdout
    assert "up to date" in _run("validate", sound, *words).stderr
    swapped = save_linear("swapped.onnx", lambda w, b: (w[:, ::-1].copy(), b[::-1].copy()))
    failed = _run("validate", swapped, *words)
    assert failed.exit_code == ExitCode.CHECK_FAILED and "FAILED" in failed.stdout
    answer = json.loads(_run("validate", swapped, *words, "--json").stdout)
    assert answer["passed"] is False and answer["file"] == f"{swapped}.verdict.json"
    loose = ("--max-drop", 100, "--min-agreement", 0, "--min-cosine", -1, "--min-sqnr", -300)
    assert _run("validate", swapped, *words, *loose).exit_code == ExitCode.DONE


def test_nan_outputs_end_with_1_and_not_with_a_fault_of_ours(save_linear) -> None:
    broken = save_linear("nan.onnx", lambda w, b: (w * np.nan, b))
    words = ("-r", save_linear("ref.onnx"), "--data", "digits", "--split", "val")
    result = _run("validate", broken, *words)
    assert result.exit_code == ExitCode.CHECK_FAILED and "FAILED" in result.stdout
    assert _run("evaluate", broken, "--data", "digits", "--split", "val").exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "a.onnx"), "--data"),
        (("evaluate", "missing.onnx", "--data", "digits"), "missing.onnx"),
        (("evaluate", "gpu:a.onnx", "--data", "digits"), "gpu"),
        (("evaluate", "a.onnx", "--data", "digits", "--split", "dev"), "dev"),
        (("evaluate", "a.onnx", "--data", "noise"), "no labels"),
        (("validate", "a.onnx", "--data", "digits"), "--reference"),
        (("validate", "a.onnx", "-r", "a.onnx"), "--data"),
        (("validate", "cut.onnx", "-r", "a.onnx", "--data", "digits"), "cut off"),
        (("validate", "a.onnx", "-r", "a.onnx", "--data", "digits", "--min-agreement", "97"), "97"),
        (("validate", "notes.txt", "-r", "a.onnx", "--data", "digits", "--split", "val"), "notes.txt"),
    ],
)
def test_wrong_use_ends_with_2_and_one_message(save_linear, monkeypatch, words: tuple, says: str) -> None:
    folder = save_linear("a.onnx").parent
    cut = save_linear("cut.onnx")
    cut.write_bytes(cut.read_bytes()[:500])
    (folder / "notes.txt").write_text("hello")
    monkeypatch.chdir(folder)
    result = _run(*words)
    assert result.exit_code == ExitCode.BAD_INPUT and says in result.stderr
    assert "Traceback" not in result.output and "fault in resnet-deploy" not in result.output
