from __future__ import annotations

from resnet_deploy.draw.accuracy_latency import OptionPoint, draw_accuracy_latency
from resnet_deploy.draw.figure import save_png


def _point(latency_ms: float, top1: float, precision: str = "int8", **changes) -> OptionPoint:
    values = {"label": f"at {latency_ms:g}", "is_measured": False, "is_on_front": True}
    return OptionPoint(latency_ms=latency_ms, top1_percent=top1, precision=precision, **{**values, **changes})


def _axes(points, **changes):
    values = {"max_latency_ms": 2.0, "min_top1": 76.0, "title": "What to run on a GPU"}
    return draw_accuracy_latency(points, **{**values, **changes}).axes[0]


def test_measured_points_are_filled_and_estimates_hollow_each_precision_with_a_sign_of_its_own():
    points = [_point(1.0, 75.0), _point(2.0, 76.0, is_measured=True), _point(3.0, 77.0, "fp16")]
    lines = {line.get_label(): line for line in _axes(points).get_lines()}
    assert lines["int8, estimate"].get_markerfacecolor() == "none"
    assert lines["int8, measured"].get_markerfacecolor() != "none"
    assert list(lines["int8, measured"].get_xdata()) == [2.0]
    assert lines["fp16, estimate"].get_marker() != lines["int8, estimate"].get_marker()


def test_needs_and_the_recommended_point_are_drawn_where_they_are():
    axes = _axes([_point(1.0, 75.0), _point(1.5, 77.0, is_recommended=True)])
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["need: at most 2 ms"].get_xdata()) == [2.0, 2.0]
    assert list(lines["need: at least 76 %"].get_ydata()) == [76.0, 76.0]
    ring = lines["recommended"]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([1.5], [77.0])
    assert not any(
        "need" in line.get_label()
        for line in _axes([_point(1.0, 75.0)], max_latency_ms=None, min_top1=None).get_lines()
    )


def test_the_line_joins_what_is_higher_than_all_that_is_faster_and_only_the_front():
    points = [_point(3.0, 77.0), _point(1.0, 75.0), _point(2.0, 74.0), _point(0.5, 78.0, is_on_front=False)]
    axes = _axes(points)
    stairs = next(line for line in axes.get_lines() if line.get_drawstyle() == "steps-post")
    assert list(stairs.get_xdata()) == [1.0, 3.0] and list(stairs.get_ydata()) == [75.0, 77.0]
    assert {text.get_text() for text in axes.texts} == {"at 1", "at 3"}


def test_labels_that_would_lie_on_each_other_are_left_out():
    axes = _axes([_point(1.0, 70.0), _point(2.0, 78.0), _point(3.0, 78.1)])
    assert {text.get_text() for text in axes.texts} == {"at 1", "at 2"}


def test_what_is_not_shown_is_said_and_the_file_is_the_same_each_time(tmp_path):
    assert "7 options without a known top-1" in _axes([_point(1, 75)], num_unknown=7).get_title()
    for name in ("a.png", "b.png"):
        figure = draw_accuracy_latency([_point(1.0, 75.0)], max_latency_ms=None, min_top1=None, title="t")
        save_png(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
