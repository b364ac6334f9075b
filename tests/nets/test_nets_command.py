from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from resnet_deploy.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["nets", *arguments], catch_exceptions=True)


def test_the_list_fits_a_terminal_of_100_columns():
    lines = [line.rstrip() for line in run("list").stdout.splitlines()]
    assert max(map(len, lines)) <= 100
    assert any("resnet34-a" in line and "21.62 M" in line and "25.03" in line for line in lines)


def test_show_counts_stages_at_another_size():
    found = json.loads(run("show", "resnet50", "--size", "640", "--json").stdout)
    assert found["multiply_adds"] == 33_366_425_600 and found["input_shape"] == [3, 640, 640]
    assert [stage["name"] for stage in found["stages"]] == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert sum(stage["num_convs"] for stage in found["stages"]) == found["num_convs"] == 53
    assert "paper" not in found


def test_show_prints_layers_stages_and_totals():
    shown = run("show", "resnet20", "--classes", "3").stdout
    for part in ("layer3.2.conv2", "203,520", "40,550,592", "after BN is folded"):
        assert part in shown


def test_the_papers_figures_beside_ours():
    shown = run("show", "vgg16", "--paper").stdout
    for part in ("15.3 x 10^9", "15,470,264,320", "15,346,630,656", "28.07 %", "the paper counts convolutions alone"):
        assert part in shown
    found = json.loads(run("show", "resnet50", "--paper", "--json").stdout)["paper"]
    assert found[0]["net"] == "resnet50-v1" and found[0]["ours"] == 4_089_184_256
    assert found[1]["ours"] is None and found[1]["value"] == 22.85
    assert "The paper prints no figure for resnet50-c." in run("show", "resnet50-c", "--paper").stdout


@pytest.mark.parametrize("option", ["--size", "--classes"])
def test_the_papers_figures_are_of_its_own_input(option):
    done = run("show", "resnet50", "--paper", option, "100")
    assert done.exit_code == 2 and f"--paper and {option} were both given" in done.stderr
