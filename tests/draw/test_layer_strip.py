from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from PIL import Image

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.draw.figure import PALETTE, save_picture
from resnet_deploy.draw.layer_strip import DrawnAddition, DrawnConversion, DrawnLayer, draw_layer_strip

_GREEN, _RED, _ORANGE = PALETTE[2], PALETTE[1], PALETTE[4]


def _layer(name: str, reads: str = "int8", *, missed: bool = False, size: float = 5.0) -> DrawnLayer:
    return DrawnLayer(name=name, size=size, asked_in="int8", reads=reads, asked_out="", writes="fp32", is_missed=missed)


def _figure(layers, **more):
    return draw_layer_strip(layers, size_label="million multiply-adds", title="net", **more)


def _legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_bars_have_the_colour_of_what_is_read_and_missed_ones_an_outline() -> None:
    figure = _figure([_layer("conv1", size=7.0), _layer("layer1.0.conv1", "fp16", missed=True)])
    bars = figure.axes[0].patches
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [_GREEN, _ORANGE]
    assert [bar.get_height() for bar in bars] == [7.0, 5.0]
    assert [bar.get_linewidth() for bar in bars] == [0.0, 1.2]
    assert _legend(figure) == ["int8", "fp16", "fp32", "not as asked"]


def test_without_an_engine_bars_and_strips_are_of_what_was_asked() -> None:
    layers = [DrawnLayer(name="conv1", size=1.0, asked_in="int8", reads="", asked_out="int8", writes="")]
    figure = _figure(layers, additions=[DrawnAddition(position=1, asked=True, fused=None)])
    assert to_hex(figure.axes[0].patches[0].get_facecolor()) == _GREEN
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == ["asked to read", "asked to write", "additions"]
    assert len(figure.axes) == 2 and _legend(figure) == ["int8", "addition fused"]


def test_conversions_stand_before_their_layer_and_those_of_layout_are_hollow() -> None:
    conversions = [
        DrawnConversion(position=1, num_bytes=3 << 20, writes="fp32", changes_type=True),
        DrawnConversion(position=1, num_bytes=1 << 20, writes="int8", changes_type=False),
        DrawnConversion(position=2, num_bytes=2 << 20, writes="int8", changes_type=True),
    ]
    figure = _figure([_layer("conv1"), _layer("fc")], conversions=conversions)
    bars = figure.axes[2].patches
    assert [bar.get_height() for bar in bars] == [3.0, 1.0, 2.0]
    places = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    assert 0 < places[0] < places[1] < 1 < places[2]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [_RED, "#ffffff", _GREEN]
    assert "layout only" in _legend(figure)


def test_additions_alone_are_crosses_behind_their_convolution() -> None:
    additions = [DrawnAddition(position=1, asked=True, fused=True), DrawnAddition(position=2, asked=True, fused=False)]
    figure = _figure([_layer("conv1"), _layer("conv2")], additions=additions)
    marks = [(line.get_marker(), line.get_xdata()[0]) for line in figure.axes[1].get_lines() if line.get_marker()]
    assert ("o", 0) in marks and ("x", 1) in marks
    assert _legend(figure)[-2:] == ["addition fused", "addition alone"]


def test_stages_are_named_once_each_unless_there_are_too_many() -> None:
    names = ["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "fc"]
    figure = _figure([_layer(name) for name in names])
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["conv1", "layer1", "layer2", "fc"]
    many = _figure([_layer(f"Conv_{index}") for index in range(40)])
    assert many.axes[-1].get_xlabel() == "number of the layer"


def test_a_picture_is_written_as_its_name_says_and_always_alike(tmp_path: Path) -> None:
    layers = [_layer(f"layer{index // 40}.{index}.conv1") for index in range(156)]
    for name in ("a.svg", "b.svg", "c.png"):
        save_picture(_figure(layers), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()[:600]
    assert Image.open(tmp_path / "c.png").width > 1500  # 156 layers need room
    with pytest.raises(ConfigError, match=r"d\.jpg: pictures are written as \.png or \.svg"):
        save_picture(_figure(layers[:2]), tmp_path / "d.jpg")
    assert not (tmp_path / "d.jpg").exists()
