"""From sections to one HTML file that needs nothing else."""

from __future__ import annotations

__all__ = ["Head", "render_page"]

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from resnet_deploy.report import numbers
from resnet_deploy.report.answer import Answer
from resnet_deploy.report.figures.canvas import Picture, csv_of
from resnet_deploy.report.sections.section import Section
from resnet_deploy.report.summary import SummaryLine

_MOST_PNG_BYTES = 2 * 2**20
"""Pictures beyond this are left to `report --figures`, so that the page stays one that can be sent by mail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What the page begins with.

    Attributes:
        created: When, in words.
        tiles: (name, figure, small print) of the most wanted numbers.
    """

    title: str
    created: str
    version: str
    answer: Answer
    summary: Sequence[SummaryLine]
    tiles: Sequence[tuple[str, str, str]]


def render_page(
    head: Head,
    sections: Sequence[Section],
    pictures: Sequence[Picture],
    *,
    missing: Sequence[str],
    unreadable: Sequence[str],
) -> str:
    """The page; whatever comes from files is escaped.

    Args:
        pictures: Of all charts of the sections.
    """
    environment = _environment()
    environment.globals["drawn"] = _embedded(pictures)
    return environment.get_template("page.html.j2").render(
        head=head, sections=sections, missing=missing, unreadable=unreadable
    )


def _embedded(pictures: Sequence[Picture]) -> dict[str, dict[str, Any]]:
    """Name of a chart -> its SVG, and links that hold its CSV and, unless all are too large, its PNG."""
    small = sum(len(picture.png) for picture in pictures) <= _MOST_PNG_BYTES
    return {
        picture.chart.name: {
            "svg": Markup(picture.inline_svg),  # made by matplotlib, which escapes texts
            "csv": _data_link("text/csv;charset=utf-8", csv_of(picture.chart).encode()),
            "png": _data_link("image/png", picture.png) if small else "",
        }
        for picture in pictures
    }


def _data_link(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("resnet_deploy.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": numbers.count,
        "number": numbers.fixed,
        "signed": numbers.signed,
        "figures3": numbers.three_figures,
        "millions": numbers.millions,
        "measured": numbers.measured,
        "interval": numbers.percent_interval,
        "size": numbers.size,
        "mib": lambda size: numbers.three_figures(size / numbers.MIB),
        "short": lambda text: text[:12],
        "basename": lambda path: Path(path).name,
        "last_parts": lambda path: "/".join(Path(path).parts[-2:]),
        "cell": _cell,
        "commands": _commands,
    }
    return environment


def _cell(value: Any) -> str:
    """One number or text of the table behind a figure."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _commands(text: str) -> Markup:
    """Escaped text with `commands` set in the type of code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
