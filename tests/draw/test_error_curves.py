from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.draw.error_curves import ErrorCurve, draw_error_curves, error_ceiling
from resnet_deploy.draw.figure import PALETTE, save_png


def curve(name: str, train: list, test: list, *, step: int = 100, colour: int = 0) -> ErrorCurve:
    steps = [step * (i + 1) for i in range(len(train))]
    return ErrorCurve(name=name, steps=steps, train_error=train, test_error=test, colour=colour)


@pytest.mark.parametrize(
    "ends, expected",
    [
        ((4.0, 9.5), 20),  # the paper's scale
        ((0.0, 19.9), 20),
        ((16.0, 30.0), 40),  # 30 * 1.25 = 37.5, up to the next 20
        ((33.0, 12.0), 60),  # the training error counts too: 41.25
        ((90.0, 95.0), 100),
        ((None, None), 100),
    ],
)
def test_the_scale_is_the_papers_where_the_runs_fit_it(ends, expected):
    train, test = ends
    assert error_ceiling([curve("a", [80.0, train], [90.0, test])]) == expected


def test_an_error_that_was_not_measured_last_is_looked_for_before():
    assert error_ceiling([curve("a", [30.0, 2.0, 1.0], [60.0, 50.0, None])]) == 80  # 50 * 1.25 = 62.5


def test_a_run_that_was_seldom_below_the_papers_scale_is_shown_whole():
    # 12 points, 2 of them below 20; the sixth smallest is 40: 40 * 1.25 = 50, up to the next 20
    short = curve("a", [90.0, 70.0, 50.0, 40.0, 30.0, 15.0], [85.0, 65.0, 45.0, 35.0, 25.0, 18.0])
    assert error_ceiling([short]) == 60
    points = [*short.train_error, *short.test_error]
    assert sum(point < 60 for point in points) >= len(points) / 2
    long = curve("a", [*short.train_error, *[12.0] * 6], [*short.test_error, *[14.0] * 6])
    assert error_ceiling([long]) == 20  # 14 of 24 points lie there


def test_training_is_thin_and_dashed_and_test_bold_in_one_colour():
    figure = draw_error_curves({"": [curve("a", [50.0, 5.0], [60.0, None], colour=1)]})
    train, test = figure.axes[0].get_lines()
    assert (train.get_linestyle(), test.get_linestyle()) == ("--", "-")
    assert train.get_linewidth() < test.get_linewidth()
    assert train.get_color() == test.get_color() == PALETTE[1]
    assert list(train.get_ydata()) == [50.0, 5.0]
    assert list(test.get_ydata()) == [60.0] and test.get_marker() == "o"  # one point is no line


def test_panels_have_the_same_axes_and_long_runs_count_in_ten_thousands():
    left = curve("plain20", [50.0, 5.0], [60.0, 9.0], step=32_000)
    right = curve("resnet20", [50.0, 3.0], [60.0, 30.0], step=16_000)
    axes = draw_error_curves({"plain nets": [left], "residual nets": [right]}).axes
    assert [a.get_title() for a in axes] == ["plain nets", "residual nets"]
    assert {a.get_ylim() for a in axes} == {(0, 40)} and {a.get_xlim() for a in axes} == {(0, 6.4)}
    assert {a.get_xlabel() for a in axes} == {"iterations (1e4)"}
    assert list(axes[1].get_lines()[1].get_xdata()) == [1.6, 3.2]


def test_the_legend_names_every_net_and_says_what_the_lines_mean():
    def entries(curves):
        return [text.get_text() for text in draw_error_curves({"": curves}).axes[0].get_legend().get_texts()]

    lines = ["train (augmented)", "test (held out)"]
    assert entries([curve("", [5.0], [9.0])]) == lines
    assert entries([curve("a", [5.0], [9.0]), curve("b", [5.0], [9.0])]) == ["a", "b", *lines]


def test_the_same_curves_give_the_same_bytes_and_others_another_picture(tmp_path):
    for name, last in (("a.png", 9.0), ("b.png", 9.0), ("c.png", 12.0)):
        save_png(draw_error_curves({"": [curve("x", [40.0, 5.0], [50.0, last])]}), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pictures = [np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "c.png")]
    assert pictures[0].shape == (504, 720, 3)
    assert not np.array_equal(*pictures)
