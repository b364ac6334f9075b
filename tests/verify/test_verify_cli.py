from __future__ import annotations

import importlib.util
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


def test_the_number_of_images_is_said_once(save_linear) -> None:
    file = save_linear("a.onnx")
    for words, expected in ((("--images", 50), "50 of digits/val"), ((), "599 (digits/val)")):
        shown = _run("evaluate", file, "--data", "digits", "--split", "val", *words).stdout
        row = next(line for line in shown.splitlines() if "│ images " in line)
        assert [cell.strip() for cell in row.split("│")][2] == expected


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


def test_validate_shows_statistics_and_where_limits_come_from(save_linear) -> None:
    reference = save_linear("ref.onnx")
    noisy = save_linear("n.onnx", lambda w, b: (w + np.random.default_rng(0).normal(0, 0.02, w.shape), b))
    words = ("-r", reference, "--data", "digits", "--split", "val", "--min-sqnr", 5, "--level", 0.1)
    shown = _run("validate", noisy, *words).stdout
    for said in ("McNemar", "mid-p", "right to wrong", "Flips on which", "to prove it", "Holm", "90 %", "p99.9"):
        assert said in shown
    lines = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert " given " in lines["SQNR of logits (dB)"] and "fp32 default" in lines["cosine of logits"]
    answer = json.loads(_run("validate", noisy, *words, "--json").stdout)
    assert answer["statistics"]["level"] == 0.1 and answer["statistics"]["top1"]["p_mid"] <= 1


def test_validate_proves_or_fails_and_stops_early(save_linear) -> None:
    reference, same = save_linear("ref.onnx"), save_linear("same.onnx")
    words = ("-r", reference, "--data", "digits", "--split", "val")
    assert _run("validate", same, *words, "--images", 50).exit_code == ExitCode.DONE
    unproven = _run("validate", same, *words, "--images", 50, "--prove")
    assert unproven.exit_code == ExitCode.CHECK_FAILED and "not proven" in unproven.stderr
    limits = ("--max-drop", 3, "--min-agreement", 0.95, "--batch", 25)
    early = _run("validate", same, *words, "--sequential", "--prove", *limits)
    assert early.exit_code == ExitCode.DONE and "of 599 images were compared" in early.stderr
    assert "betting" in early.stdout


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
        (("validate", "a.onnx", "-r", "a.onnx", "--data", "digits", "--split", "val", "--level", "5"), "level is 5"),
        (("validate", "a.onnx", "-r", "a.onnx", "--data", "noise", "--prove"), "--prove"),
        (("evaluate", "plan.toml", "--data", "digits"), "ending in '.toml' can not be run"),
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


def test_an_ensemble_shows_each_member_and_its_protocol(save_linear) -> None:
    a, b = save_linear("a.onnx"), save_linear("b.onnx")
    words = ("--data", "digits", "--split", "val", "--images", 20, "--protocol", "ten-crop", "--resize", 34)
    shown = _run("evaluate", a, f"openvino:{b}" if _has_openvino() else b, *words)
    assert shown.exit_code == ExitCode.DONE, shown.output
    assert "ensemble (mean of softmax)" in shown.stdout and "shorter side 34" in shown.stdout
    answer = json.loads(_run("evaluate", a, b, *words, "--json").stdout)
    assert answer["protocol"] == "ten-crop" and len(answer["members"]) == 2 and answer["skipped"] == []


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--protocol", "five-crop"), "'five-crop', expected one of single, ten-crop, multi-scale"),
        (("--protocol", "multi-scale", "--sides", "32,x"), "'32,x'"),
        (("--protocol", "multi-scale"), "--sides 32,40,48"),
        (("--protocol", "multi-scale", "--sides", "32"), "--fully-convolutional"),
        (("--sides", "32"), "--sides is for multi-scale"),
        (("--protocol", "ten-crop", "--resize", "20"), "--resize is 20"),
    ],
)
def test_protocols_that_do_not_fit_end_with_2(save_linear, words: tuple, says: str) -> None:
    result = _run("evaluate", save_linear("a.onnx"), "--data", "digits", "--split", "val", *words)
    assert result.exit_code == ExitCode.BAD_INPUT and says in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a.safetensors", "b.safetensors"), "say --ensemble"),
        (("a.safetensors", "--ensemble"), "needs two or more"),
        (("a.safetensors", "--protocol", "multi-scale"), "--fully-convolutional"),
        (("a.safetensors", "--protocol", "ten-crop", "--fully-convolutional"), "choose one"),
        (("a.safetensors", "b.safetensors", "--ensemble", "--net", "resnet20"), "leave --net"),
        (("a.safetensors", "--resize", "300"), "--resize is for ten-crop"),
        (("missing.safetensors", "b.safetensors", "--ensemble"), "missing.safetensors: no such file"),
        (("missing.safetensors",), "missing.safetensors: no such file"),
    ],
)
def test_exports_that_do_not_fit_end_with_2(tmp_path, monkeypatch, words: tuple, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = _run("export", *words)
    assert result.exit_code == ExitCode.BAD_INPUT and says in " ".join(result.stderr.split())
    assert "tracing" not in result.stderr
