from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from resnet_deploy.draw.figure import save_png
from resnet_deploy.draw.pareto import TradeOff, draw_trade_off
from resnet_deploy.draw.sensitivity import draw_sensitivity


def _point(cost: float, agreement: float, *, front: bool = True) -> TradeOff:
    return TradeOff(
        cost_percent=cost,
        agreement_percent=agreement,
        low_percent=agreement - 0.4,
        high_percent=agreement + 0.3,
        is_on_front=front,
    )


def _figure(points, chosen):
    return draw_trade_off(
        points,
        predicted=[(0.0, 97.5), (9.0, 99.1), (80.0, 99.9)],
        limit_percent=99.0,
        chosen=chosen,
        title="net",
        cost_label="share",
    )


def test_front_limit_and_delivered_point_are_drawn_where_they_are() -> None:
    points = [_point(0.0, 97.6), _point(9.0, 99.2), _point(7.0, 97.0, front=False)]
    axes = _figure(points, points[1]).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"predicted path", "delivered", "asked for: 99 %", "measured, on the front", "measured"} == set(labels)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["delivered"].get_xdata()) == [9.0] and list(lines["delivered"].get_ydata()) == [99.2]
    assert list(lines["asked for: 99 %"].get_ydata()) == [99.0, 99.0]
    low, high = axes.get_ylim()
    assert low < 97.0 - 0.4 and high > 100
    assert max(lines["predicted path"].get_xdata()) == 9.0  # what lies far beyond the measured points is left out


def test_an_interval_that_ends_at_the_figure_itself_can_be_drawn() -> None:
    whole = TradeOff(
        cost_percent=0.0, agreement_percent=100.0, low_percent=97.0, high_percent=100.0 - 1e-14, is_on_front=True
    )
    assert _figure([whole], whole).axes[0].get_ylim()[0] < 97.0


def test_another_delivered_point_gives_another_picture(tmp_path) -> None:
    points = [_point(0.0, 97.6), _point(9.0, 99.2)]
    for name, chosen in (("a.png", points[0]), ("b.png", points[1]), ("c.png", points[0])):
        save_png(_figure(points, chosen), tmp_path / name)
    pictures = [np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "b.png", "c.png")]
    assert np.array_equal(pictures[0], pictures[2]) and not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (55, 40)])
def test_sensitivity_shows_the_noisiest_on_top_and_says_what_it_leaves_out(count: int, shown: int) -> None:
    axes = draw_sensitivity([(f"layer{i}", float(i), 1.0) for i in range(count)], title="net").axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == shown and names[0] == f"layer{count - 1}"
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row is the highest
    assert axes.get_title() == ("net" if shown == count else "net, the noisiest 40 of 55")
