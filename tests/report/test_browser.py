"""The page in a real browser with the network off, whole and with faults put in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.browser import PROGRAM, Measured, console_messages, measure

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither chromium nor chrome is installed")

PHONE, DESK = 390, 1280
SECTIONS = [
    "summary", "verdicts", "statistics", "attribution", "faults", "latency", "roofline", "advice", "networks",
    "training", "engines", "provenance", "environment",
]  # fmt: skip


@pytest.fixture(scope="module")
def measured(full_report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Measured]:
    html = full_report.read_text(encoding="utf-8")
    pages = {
        "whole": html,
        "wide": html.replace("<h1>", '<div style="width:500px">too wide</div><h1>', 1),
        "asks": html.replace("<h1>", '<img src="http://example.org/x.png" alt=""><h1>', 1),
    }
    return measure(pages, (PHONE, DESK), tmp_path_factory.mktemp("frames"))


def test_the_browser_has_nothing_to_say_of_the_page(full_report: Path) -> None:
    assert console_messages(full_report) == []


@pytest.mark.parametrize("fault", ["<script>console.error('planted')</script>", '<img src="http://example.org/x.png">'])
def test_a_script_or_a_request_in_the_page_would_be_heard_of(full_report: Path, tmp_path: Path, fault: str) -> None:
    """The page's own policy refuses both, and the browser says so."""
    copy = tmp_path / "copy.html"
    copy.write_text(full_report.read_text(encoding="utf-8").replace("<h1>", f"{fault}<h1>", 1), encoding="utf-8")
    (message,) = console_messages(copy)
    assert "Content Security Policy" in message


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_shows_everything_and_does_not_scroll_sideways(
    measured: dict[tuple[str, int], Measured], width: int
) -> None:
    page = measured["whole", width]
    assert page.width <= page.window == width
    assert page.sections == SECTIONS and page.requests == [] and page.drawn >= 9


def test_an_element_that_is_too_wide_would_be_seen(measured: dict[tuple[str, int], Measured]) -> None:
    assert measured["wide", PHONE].width > PHONE and measured["wide", DESK].width == DESK


def test_a_request_without_the_policy_would_be_seen(measured: dict[tuple[str, int], Measured]) -> None:
    assert measured["asks", DESK].requests == ["http://example.org/x.png"]
