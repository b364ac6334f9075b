from __future__ import annotations

import pytest

from resnet_deploy.draw.divergence import DrawnLayer, draw_divergence
from resnet_deploy.draw.figure import save_png


def test_both_lines_the_limit_and_the_first_fault_are_drawn_where_they_are(tmp_path) -> None:
    layers = [
        DrawnLayer("conv1", 40.0, 40.0, False),
        DrawnLayer("layer1.0.conv1", 30.0, -9.5, True),
        DrawnLayer("layer1.0.add", 12.0, 300.0, False),
        DrawnLayer("fc", None, None, True),
    ]
    figure = draw_divergence(layers, limit_db=10, title="net")
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["accumulated"].get_ydata())[:3] == [40.0, 30.0, 12.0]
    assert list(lines["introduced by the layer"].get_ydata())[:3] == [40.0, -9.5, 100.0]
    assert list(lines["at fault"].get_xdata()) == [1, 3]
    assert [text.get_text().strip() for text in axes.texts] == ["first: layer1.0.conv1"]
    assert "limit, 10 dB" in lines
    save_png(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 2000


@pytest.mark.parametrize("count", [1, 300])
def test_few_and_many_layers_fit(count) -> None:
    layers = [DrawnLayer(f"layer{i}", 30.0, 35.0, False) for i in range(count)]
    axes = draw_divergence(layers, limit_db=10, title="net").axes[0]
    assert len(axes.get_xticklabels()) <= 60 and not axes.texts
