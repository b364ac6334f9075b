from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_train_reports_the_same_in_json_as_the_library(digit_folder, tmp_path):
    out = tmp_path / "n.safetensors"
    common = ("--net", "resnet8", "--data", digit_folder, "--recipe", "fast-digits", "--threads", 1)
    result = run(*common, "--epochs", 1, "--batch", 32, "--set", "label_smoothing=0.0", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["net"], shown["steps"], shown["skipped"]) == ("resnet8", 2, False)
    assert shown["recipe"] == "fast-digits with batch_size=32, epochs=1, label_smoothing=0.0"
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--net", "resnet21"), "resnet21"),
        (("--set", "epoch=1"), "did you mean 'epochs'"),
        (("--recipe", "paper"), "unknown recipe 'paper'"),
        (("--net", "resnet20", "--depth", "18"), "both given"),
        (("--data", "/nowhere/at/all"), "no such folder"),
        (("--classes", "11"), "11 classes were asked for"),
    ],
)
def test_wrong_input_ends_with_exit_code_2_and_one_message(arguments, message, tmp_path):
    result = run(*arguments, "--out", tmp_path / "n.safetensors")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
