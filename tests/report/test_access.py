"""The page for who reads it by keyboard, by ear, on paper or in the dark."""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from resnet_deploy.report.figures.canvas import CARD_COLOURS
from tests.report.contrast import contrast
from tests.report.page import Page

CSS = resources.files("resnet_deploy.report").joinpath("templates", "report.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(full_report: Path) -> Page:
    page = Page(full_report.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def themes() -> list[dict[str, str]]:
    """Colours of the light, the dark and the printed page; each has all of them."""
    blocks = re.findall(r":root \{([^}]*)\}", CSS)
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", block)) for block in blocks]
    assert len(found) == 3 and all(set(theme) == set(found[0]) for theme in found)
    return found


def test_contrast_knows_black_white_and_a_published_pair() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)  # WebAIM's example of just enough


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_text_can_be_read_on_every_ground(place: int) -> None:
    """WCAG 2.1, 1.4.3: at least 4.5:1."""
    theme = themes()[place]
    grounds = [theme[name] for name in ("page", "card")]
    for ink in ("ink", "dim", "good", "bad", "warn", "link"):
        for ground in grounds:
            assert contrast(theme[ink], ground) >= 4.5, (ink, ground)
    for tone in ("good", "warn", "bad"):
        for ink in (tone, "dim", "ink"):
            assert contrast(theme[ink], theme[f"{tone}-tint"]) >= 4.5, (ink, tone)


def test_figures_are_tested_on_the_grounds_they_stand_on() -> None:
    assert tuple(theme["card"] for theme in themes()[:2]) == CARD_COLOURS


def test_the_page_has_a_language_a_title_and_landmarks(page: Page) -> None:
    assert page.of("html")[0]["lang"] == "en" and {"title", "header", "nav", "main"} <= page.tags
    assert page.of("nav")[0]["aria-label"] == "Sections"
    skip = page.of("a")[0]
    assert skip == {"class": "skip", "href": "#content"} and page.of("main")[0]["id"] == "content"


def test_ids_are_unique_and_every_link_of_the_page_leads_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for attributes in page.of("a") if attributes["href"].startswith("#")]
    labels = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert len(targets) > 12 and {target[1:] for target in targets} | set(labels) <= set(ids)


def test_headings_go_down_one_step_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_heads_with_a_scope(page: Page) -> None:
    assert len(page.of("caption")) == len(page.of("table")) > 15
    assert {attributes.get("scope") for attributes in page.of("th")} == {"col", "row", "colgroup"}


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(page: Page) -> None:
    regions = [attributes for attributes in page.of("div") if attributes.get("class") == "scroll"]
    assert len(regions) == len(page.of("table"))
    assert all(region["tabindex"] == "0" and region["role"] == "region" for region in regions)
    names = [region["aria-label"] for region in regions]
    assert all(names) and len(names) == len(set(names))


def test_every_figure_has_a_name_a_caption_a_table_and_a_download(page: Page) -> None:
    plots = [attributes for attributes in page.of("div") if attributes.get("role") == "img"]
    assert len(plots) == len(page.of("figure")) == len(page.of("figcaption")) > 8
    assert all(plot["aria-label"] for plot in plots)
    downloads = [attributes["download"] for attributes in page.of("a") if "download" in attributes]
    assert len(downloads) == 2 * len(plots) and len(set(downloads)) == len(downloads)


def test_no_state_is_told_by_colour_alone(page: Page) -> None:
    html = "".join(page.words)
    for mark in ("✓ passed", "✗", "! "):
        assert mark in html


def test_paper_gets_no_navigation_and_whole_tables() -> None:
    printed = CSS.split("@media print", 1)[1]
    assert "nav, .skip, .downloads { display: none; }" in printed and "overflow: visible" in printed
    assert "details-content" in printed  # what is folded on the screen is open on paper
