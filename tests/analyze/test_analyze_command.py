from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app
from tests.analyze.test_runs import rows, write


def invoke(*arguments):
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)], env={"NO_COLOR": "1"})


def test_curves_show_the_last_errors_and_say_what_was_tolerated(tmp_path):
    file = write(tmp_path / "plain20.metrics.jsonl", *rows((60, 70), (4.25, 9.5)), '{"ep')
    done = invoke("curves", file, "--out", tmp_path / "c.png")
    assert done.exit_code == 0, done.output
    assert "4.25" in done.stdout and "9.50" in done.stdout and "200" in done.stdout
    assert "line 3 is cut off" in done.stderr and "line 3" not in done.stdout
    assert "c.png" in done.stderr


def test_responses_print_their_document(save_net, tmp_path):
    out = tmp_path / "r.png"
    done = invoke("responses", save_net("resnet8"), "--data", "digits", "--images", 8, "--json", "--out", out)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "r.json").read_text())
    assert out.is_file() and document["num_images"] == 8
    assert [layer["name"] for layer in document["nets"][0]["layers"]][-1] == "layer3.0.conv2"


def test_gradients_show_a_line_for_each_net_and_every_layer_where_asked(save_net, tmp_path):
    out, file = tmp_path / "g.png", save_net("resnet8")
    nets = (file, "--net", "plain8", "--fresh", "--per-layer")
    done = invoke("gradients", *nets, "--data", "digits", "--images", 8, "--batch", 4, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("fresh, seed 0") == 2 and "first/last" in done.stdout
    assert done.stdout.count("layer3.0.conv2") == 2
    assert "g.png" in done.stderr and "g.png" not in done.stdout


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("responses", "nowhere.safetensors", "--data", "digits"), "nowhere.safetensors: no such file"),
        (("responses", "nowhere.safetensors"), "no images were named"),
        (("responses",), "Missing argument"),
        (("gradients", "--data", "digits"), "no network was given"),
        (("gradients", "--net", "resnet9", "--data", "digits"), "unknown net 'resnet9'"),
        (("gradients", "--net", "resnet8", "--data", "nowhere"), "nowhere: no such folder"),
        (("curves", "nowhere.metrics.jsonl"), "nowhere.metrics.jsonl: no such file"),
        (("curves", "x.metrics.jsonl", "--out", "x.svg"), "x.svg must end in .png"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert expected in " ".join(done.stderr.split())
    assert not done.stdout and not list(tmp_path.iterdir())
