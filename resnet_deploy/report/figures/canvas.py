"""What a figure of the report is: a picture, the sentence that says what it shows, and the numbers behind it.

One drawing serves three uses: an SVG that takes its ink from the page and so fits a light and a dark one, a PNG and
an SVG on white to keep, and a CSV file of the numbers.
"""

from __future__ import annotations

__all__ = [
    "CARD_COLOURS",
    "OTHER_COLOUR",
    "PRECISION_COLOURS",
    "SERIES_COLOURS",
    "Chart",
    "Picture",
    "chart_name",
    "csv_of",
    "draw_chart",
    "new_canvas",
    "short_label",
    "write_picture",
]

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from resnet_deploy.core.files import atomic_write

PRECISION_COLOURS = {"fp32": "#858b95", "fp16": "#2f7fe8", "bf16": "#8163d6", "int8": "#d9730d", "fp8": "#cf4f78"}
OTHER_COLOUR = "#16918c"
SERIES_COLOURS = ("#2f7fe8", "#d9730d", "#16918c", "#cf4f78", "#8163d6", "#858b95")
"""At least 3:1 against both cards below (WCAG 2.1, 1.4.11)."""

CARD_COLOURS = ("#ffffff", "#1d2127")
"""What figures stand on in the light and the dark page; the same as --card in report.css."""

_WIDTH = 5.6  # inches; scaled to the page, so that letters stay legible on a phone
_INK = "#1c2129"  # of paper; in the page it becomes currentColor, which matplotlib does not know
_DARK = ("#000000", "#555555", "#666666")  # that drawings name, and that a dark page would swallow
_DPI = 192  # twice the 96 of a page
_FEW_DECADES = 200  # largest over smallest value, up to which ticks at 2 and 5 have room
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One figure.

    Attributes:
        name: Of its files, without ending; unique in a report.
        heading: What it is of.
        label: What it shows, in a sentence, for who can not see it.
        columns, rows: The numbers that are drawn, with their units.
        draw: Makes the figure; called inside a style that sets letters and ink.
    """

    name: str
    heading: str
    label: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    draw: Callable[[], Figure]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name):
            raise ValueError(f"chart name {self.name!r} is no plain file name")
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"chart {self.name}: a row has not {len(self.columns)} cells")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A chart that was drawn.

    Attributes:
        svg: With its size in points, on no ground, in dark ink.
        png: On white, at twice a screen's resolution.
    """

    chart: Chart
    svg: str
    png: bytes

    @property
    def inline_svg(self) -> str:
        """For the page: no size of its own, the page's ink, ids that no other figure has."""
        head, rest = self.svg.split(">", 1)
        head = re.sub(r' (width|height)="[^"]*"', "", head)  # the page scales it by its viewBox
        text = f"{head}>{rest}"
        for colour in (_INK, *_DARK):
            text = text.replace(colour, "currentColor")
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.chart.name}-", text)


def chart_name(*parts: str) -> str:
    """A plain file name of texts that may hold anything."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "figure"


def short_label(text: str, most: int = 34) -> str:
    """`text`, or its beginning and its end where it is longer: a long name must not push the axes out."""
    return text if len(text) <= most else f"{text[: most - 15]}…{text[-14:]}"


def new_canvas(*, height: float, width: float = _WIDTH) -> Figure:
    """An empty figure of that size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def draw_chart(chart: Chart) -> Picture:
    """Draw it once, in the ink of paper, and keep it in every form; the same numbers give the same bytes."""
    svg, png = io.StringIO(), io.BytesIO()
    with _style(chart.name):
        figure = chart.draw()
        _name_log_ticks(figure)
        figure.savefig(png, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
        figure.set_layout_engine("none")  # it is laid out now
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = svg.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # nothing points to a group
    return Picture(chart=chart, svg=text, png=png.getvalue())


def csv_of(chart: Chart) -> str:
    """The numbers (RFC 4180); a text that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(_cell, chart.columns))
    writer.writerows(map(_cell, row) for row in chart.rows)
    return out.getvalue()


def write_picture(picture: Picture, folder: Path) -> tuple[Path, ...]:
    """Write `<name>.png`, `<name>.svg` and `<name>.csv` into `folder`."""
    svg = picture.svg.replace(">", '><rect width="100%" height="100%" fill="white"/>', 1)
    contents = {"png": picture.png, "svg": svg.encode(), "csv": csv_of(picture.chart).encode()}
    files = []
    for ending, content in contents.items():
        file = Path(folder) / f"{picture.chart.name}.{ending}"
        with atomic_write(file) as partial:
            partial.write_bytes(content)
        files.append(file)
    return tuple(files)


def _name_log_ticks(figure: Figure) -> None:
    """0.5, 10, 200 in place of powers of ten, which few read at a glance."""
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if axis.get_scale() == "log"]
    for axis in axes:
        low, high = axis.get_view_interval()
        steps = (1.0, 2.0, 5.0) if high < _FEW_DECADES * low else (1.0,)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
        axis.grid(False, which="minor")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@contextmanager
def _style(name: str) -> Iterator[None]:
    style = {
        "svg.fonttype": "path",  # the same shapes on every machine, no font needed
        "svg.hashsalt": name,  # names inside differ from figure to figure, not from run to run
        "text.parse_math": False,  # a name with a dollar in it is a name
        "font.size": 10,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": _INK,
        "grid.alpha": 0.15,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in other letters; the table has it
        yield
