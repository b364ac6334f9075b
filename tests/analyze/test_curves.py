from __future__ import annotations

import json

import pytest

from resnet_deploy.analyze.curves import CurveOptions, CurveReport, analyze_curves
from resnet_deploy.analyze.drawing import colours_by_depth
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError
from tests.analyze.conftest import assert_drawn
from tests.analyze.test_runs import rows, write


@pytest.fixture
def runs(tmp_path):
    """The paper's four, in short."""
    finals = {"plain20": (4.0, 10.0), "plain56": (7.0, 14.0), "resnet20": (2.0, 8.75), "resnet56": (0.2, 6.97)}
    return {
        name: write(tmp_path / f"{name}.metrics.jsonl", *rows((60, 70), (20, 25), final))
        for name, final in finals.items()
    }


def test_several_runs_make_one_picture_and_one_document(runs, tmp_path):
    out = tmp_path / "fig1.png"
    report = analyze_curves(CurveOptions(files=tuple(runs.values()), out=out))
    assert [run.label for run in report.runs] == list(runs)
    assert [run.final_test_error_percent for run in report.runs] == [10.0, 14.0, 8.75, 6.97]
    assert_drawn(out, size=(720, 504))
    assert from_plain(CurveReport, json.loads(out.with_suffix(".json").read_text()), source="json") == report


def test_panels_are_twice_as_wide_and_need_both_kinds(runs, tmp_path):
    out = tmp_path / "fig6.png"
    analyze_curves(CurveOptions(files=tuple(runs.values()), panels=True, out=out))
    assert_drawn(out, size=(1440, 504))
    with pytest.raises(ConfigError, match="no residual nets among the runs"):
        analyze_curves(CurveOptions(files=(runs["plain20"],), panels=True, out=tmp_path / "x.png"))
    unknown = write(tmp_path / "monday.metrics.jsonl", *rows((50, 60)))
    with pytest.raises(ConfigError, match="monday.metrics.jsonl: whether its net is plain or residual is not known"):
        analyze_curves(CurveOptions(files=(unknown, *runs.values()), panels=True, out=tmp_path / "x.png"))
    assert not (tmp_path / "x.png").exists()


def test_the_same_run_twice_is_drawn_twice(runs, tmp_path):
    report = analyze_curves(CurveOptions(files=(runs["plain20"],) * 2, out=tmp_path / "x.png"))
    assert [run.label for run in report.runs] == ["plain20", "plain20"]


def test_nets_of_one_depth_share_a_colour_unless_nothing_else_tells_them_apart():
    nets = [("plain20", False), ("plain56", False), ("resnet20", True), ("resnet56", True), ("resnet20-b", True)]
    assert colours_by_depth(nets) == [0, 1, 0, 1, 2]


def test_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="no run was given"):
        CurveOptions(files=())
    with pytest.raises(ConfigError, match="picture x.svg must end in .png"):
        CurveOptions(files=(tmp_path / "a",), out=tmp_path.__class__("x.svg"))
