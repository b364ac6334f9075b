"""A figure in all its forms: inline, on paper, as numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from resnet_deploy.report.figures.canvas import (
    CARD_COLOURS,
    OTHER_COLOUR,
    PRECISION_COLOURS,
    SERIES_COLOURS,
    Chart,
    chart_name,
    csv_of,
    draw_chart,
    new_canvas,
    short_label,
    write_picture,
)
from tests.report.contrast import contrast


def make_chart(text: str = "x", **changes: object) -> Chart:
    def draw() -> Figure:
        figure = new_canvas(height=2.0, width=3.0)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#000000", label=text)
        axes.set_title(text)
        return figure

    given = {
        "name": "test", "heading": "h", "label": "l", "columns": ("a, %", "b"), "rows": ((text, 0.5), (None, 1)),
        "draw": draw,
    }  # fmt: skip
    return Chart(**{**given, **changes})


def test_the_picture_of_the_page_takes_its_ink_from_the_page_and_has_no_size() -> None:
    svg = draw_chart(make_chart()).inline_svg
    root = ElementTree.fromstring(svg)
    assert "width" not in root.attrib and root.attrib["viewBox"]
    assert "currentColor" in svg and "#1c2129" not in svg and "#000000" not in svg


def test_two_figures_of_a_page_share_no_id() -> None:
    ids = []
    for name in ("one", "two"):
        root = ElementTree.fromstring(draw_chart(make_chart(name=name)).inline_svg)
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        used = [value.lstrip("#") for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")]
        assert used and set(used) <= set(own)  # every glyph is found
        ids += own
    assert len(ids) == len(set(ids))


def test_the_same_numbers_give_the_same_bytes() -> None:
    first, again = draw_chart(make_chart()), draw_chart(make_chart())
    assert first.svg == again.svg and first.png == again.png


@pytest.mark.parametrize("text", ["$x^{", "<script>&'\"--></svg>", "日本語", "%s {0}"])
def test_any_text_can_stand_in_a_figure(text: str, recwarn: pytest.WarningsRecorder) -> None:
    picture = draw_chart(make_chart(text))
    ElementTree.fromstring(picture.inline_svg)
    assert "<script" not in picture.inline_svg and "<!--" not in picture.inline_svg and not recwarn.list


def test_a_figure_is_written_in_three_forms(tmp_path: Path) -> None:
    files = write_picture(draw_chart(make_chart()), tmp_path / "new")
    assert [file.name for file in files] == ["test.png", "test.svg", "test.csv"]
    with Image.open(files[0]) as image:
        assert image.size == (576, 384) and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    root = ElementTree.fromstring(files[1].read_text(encoding="utf-8"))
    assert root[0].attrib["fill"] == "white" and root.attrib["width"].endswith("pt")


def test_the_numbers_come_back_from_the_csv_and_are_no_formulas() -> None:
    rows = (("=1+1", -0.5), ('a,\n"b"', None), ("@x", 2))
    found = list(csv.reader(io.StringIO(csv_of(make_chart(rows=rows)), newline="")))
    assert found == [["a, %", "b"], ["'=1+1", "-0.5"], ['a,\n"b"', ""], ["'@x", "2"]]


def test_a_chart_that_would_be_no_file_or_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="'../x' is no plain file name"):
        make_chart(name="../x")
    with pytest.raises(ValueError, match="a row has not 2 cells"):
        make_chart(rows=((1,),))


def test_names_of_files_are_made_of_anything() -> None:
    assert chart_name("latency", "My Net/..\\<x>") == "latency-my-net-x" and chart_name("…") == "figure"


def test_a_long_label_keeps_its_beginning_and_its_end() -> None:
    text = "resnet50.a-very-long-name-of-a-file.int8.onnx"
    assert short_label(text) == "resnet50.a-very-lon…file.int8.onnx" and short_label("short") == "short"


@pytest.mark.parametrize("colour", [*PRECISION_COLOURS.values(), OTHER_COLOUR, *SERIES_COLOURS])
def test_what_is_drawn_is_seen_on_both_pages(colour: str) -> None:
    """WCAG 2.1, 1.4.11: at least 3:1 for graphical objects."""
    assert min(contrast(colour, card) for card in CARD_COLOURS) >= 3
