"""`resnet-deploy advise` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.bench.advisor import advise as module
from resnet_deploy.bench.advisor.advice import read_advice
from resnet_deploy.bench.advisor.measured import Findings
from resnet_deploy.cli.main import app
from resnet_deploy.core.errors import ExitCode
from tests.bench.advisor.conftest import a_run, plain_bound

_SMALL = ("--depth", "18", "--depth", "50", "--size", "224", "--batches", "1,8")


@pytest.fixture(autouse=True)
def _plain_roofline(monkeypatch):
    monkeypatch.setattr(module, "roofline_of", lambda gpu, progress: plain_bound)


def _run(*words: object):
    return CliRunner().invoke(app, ["advise", *map(str, words)])


def test_the_table_marks_the_recommended_row_and_the_words_follow():
    result = _run("--target", "l4", "--max-latency-ms", 2, "--min-top1", 75, *_SMALL)
    assert result.exit_code == ExitCode.DONE, result.output
    (marked,) = [line for line in result.stdout.splitlines() if "->" in line]
    assert "resnet50" in marked and "roofline bound" in marked and "may meet: measure" in marked
    assert "Recommended: resnet50 fp16 224 px batch 1" in result.stdout
    assert "- resnet18: none of its 6 options" in result.stdout
    assert "resnet-deploy build out/resnet50.fp16.onnx --target sm89 --profile 1" in result.stdout


def test_needs_that_nothing_meets_end_with_1_and_what_to_relax():
    result = _run("--target", "t4", "--max-latency-ms", 0.001, *_SMALL)
    assert result.exit_code == ExitCode.CHECK_FAILED
    assert "No option can meet the needs." in result.stdout and "relax --max-latency-ms" in result.stdout
    assert "Next:" not in result.stdout


def test_json_is_one_document_and_the_file_the_same(tmp_path: Path):
    out = tmp_path / "advice.json"
    result = _run("--target", "l4", "--min-throughput", 500, *_SMALL, "--json", "--out", out)
    assert result.exit_code == ExitCode.DONE
    document = json.loads(result.stdout)
    assert len(document["options"]) == 2 * 3 * 2 and document["recommended"] is not None
    assert json.loads(out.read_text()) == document and read_advice(out).target_name == "NVIDIA L4"


def test_all_lists_what_is_beaten_too():
    words = ("--target", "l4", "--max-latency-ms", 2, *_SMALL)
    few, every = (_run(*words, *more).stdout.count("roofline bound │") for more in ((), ("--all",)))
    assert every == 12 > few > 0


def test_the_picture_is_drawn(tmp_path: Path):
    file = tmp_path / "a.svg"
    result = _run("--target", "l4", "--max-latency-ms", 2, "--min-top1", 70, *_SMALL, "--picture", file)
    assert result.exit_code == ExitCode.DONE and "written to" in result.stderr
    text = file.read_text()
    assert "recommended" in text and "need: at most 2 ms" in text and "int8, estimate" in text


def test_a_measured_run_in_the_folder_is_labelled(monkeypatch):
    run = a_run(p50_ms=0.7, images_per_second=1428.0)
    monkeypatch.setattr(module, "read_folder", lambda folder: Findings(runs=(run,)))
    stdout = _run("--target", "l4", "--max-latency-ms", 2, *_SMALL, "--from", "x", "--all").stdout
    (line,) = [line for line in stdout.splitlines() if "(tensorrt)" in line]
    assert "measured" in line and "0.7" in line and "meets" in line
    assert "scaled from 1 measured run" in stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--target", "l44"), "unknown GPU 'l44', did you mean l4?"),
        (("--target", "l4", "--depth", "19"), "unknown depth 19"),
        (("--target", "l4", "--size", "big"), "--size big: not a list of numbers"),
        (("--target", "l4", "--batches", "0"), "batches are [0]"),
        (("--target", "l4", "--precision", "int7"), "int7"),
        (("--target", "l4", "--max-latency-ms", "-1"), "max_latency_ms is -1"),
        (("--target", "l4", "--weights", "mine"), "unknown weights 'mine'"),
        (("--target", "l4", "--from", "nowhere"), "nowhere: no such folder"),
        (("--target", "cpu"), "nothing was measured"),
        (("--target", "l4", "--picture", "a.gif", *_SMALL), "a.gif"),
        ((), "--target"),
    ],
)
def test_wrong_use_ends_with_2_and_one_message(tmp_path: Path, monkeypatch, words: tuple, says: str):
    monkeypatch.chdir(tmp_path)
    result = _run(*words)
    assert result.exit_code == ExitCode.BAD_INPUT and says in result.stderr, result.output
    assert "Traceback" not in result.output and "fault in resnet-deploy" not in result.output


def test_a_picture_without_any_top1_is_refused(tmp_path: Path):
    result = _run("--target", "l4", "--net", "resnet50", "--size", 160, "--picture", tmp_path / "a.png")
    assert result.exit_code == ExitCode.BAD_INPUT and "no top-1 is known" in result.stderr
