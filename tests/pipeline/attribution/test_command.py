"""`resnet-deploy attribute` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app

_DATA = ("--data", "digits", "--split", "val", "--images", "60", "--threads", "1")


def _run(*arguments: object):
    return CliRunner().invoke(app, ["attribute", *map(str, arguments)])


def test_tables_and_json_say_the_same(chain: Path) -> None:
    file = chain / "net.fp32.onnx"
    shown = _run(file, *_DATA, "--pixels")
    assert shown.exit_code == 0, shown.output
    for text in (
        "Top-1, by cause",
        "the same by construction",
        "not distinguishable from none",
        "no /255",
        "Changes none",
    ):
        assert text in " ".join(shown.stdout.split()), text
    again = _run(file, *_DATA, "--pixels", "--json")
    found = json.loads(again.stdout)
    assert found["skipped"] and "is up to date" in again.stderr
    assert [step["cause"] for step in found["steps"]] == ["preprocessing", "export"]
    assert found["sentence"].split(" (95")[0] in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("net.fp32.onnx",), "no images were named"),
        (("nowhere.onnx", *_DATA), "no such file"),
        (("net.safetensors", *_DATA), "is a checkpoint"),
        (("net.fp32.onnx", *_DATA, "--preprocess", "imagnet"), "unknown preprocessing 'imagnet'"),
        (("net.fp32.onnx", *_DATA, "-r", "lost.safetensors"), "check the path given with --reference"),
        (("rtx:net.fp32.onnx", *_DATA), "'rtx' is not a backend"),
        (("net.calib.json", *_DATA), "can not be run"),
    ],
)
def test_wrong_input_is_said_and_ends_with_2(chain: Path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(chain)
    done = _run(*arguments)
    assert done.exit_code == 2 and message in " ".join(done.stderr.split())
