from __future__ import annotations

from pathlib import Path

import pytest

from resnet_deploy.draw.figure import save_picture
from resnet_deploy.draw.roofline import RooflineDot, RooflinePanel, draw_rooflines


def panel(title: str, **roofs: float) -> RooflinePanel:
    dots = [
        RooflineDot(group="stem", roof=label, intensity=10, tera_operations=1.0, share=0.5) for label in roofs
    ]  # fmt: skip
    crosses = [
        RooflineDot(group="measured", roof=label, intensity=10, tera_operations=0.2, is_measured=True)
        for label in roofs
    ]  # fmt: skip
    return RooflinePanel(title=title, gb_per_s=100.0, roofs=roofs, dots=(*dots, *crosses))


def test_each_gpu_and_precision_has_a_roof_with_its_ridge() -> None:
    figure = draw_rooflines([panel("one", fp16=20.0, int8=40.0), panel("two", fp16=10.0)], title="t")
    assert len(figure.axes) == 4
    roof = figure.axes[0].lines[0]
    assert roof.get_xdata()[1] == pytest.approx(200)  # 20e12 / 100e9
    assert roof.get_ydata()[1:] == pytest.approx([20, 20])
    assert roof.get_ydata()[0] == pytest.approx(roof.get_xdata()[0] * 0.1)
    assert "two: no int8" in figure.axes[3].get_title()


def test_layers_and_measurements_are_drawn_and_named_once() -> None:
    figure = draw_rooflines([panel("one", fp16=20.0)], title="t")
    assert len(figure.axes[0].collections) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["stem", "network, measured"]


def test_the_same_panels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(draw_rooflines([panel("one", fp16=20.0)], title="t"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
