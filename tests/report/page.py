"""A page taken apart with the standard parser, for the tests of the report."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from resnet_deploy.report.report import ReportOptions, write_report

_VOID = ("meta", "br", "img", "link", "hr", "input")
_NAMED_FILES = ("src", "href", "xlink:href", "action", "data", "poster", "srcset")


class Page(HTMLParser):
    """Tags in order, ids, what names another resource, and the text.

    Attributes:
        open: Tags that were not closed.
        references: Values that point out of the page.
        elements: (tag, attributes) in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = {key: value or "" for key, value in attrs}
        self.elements.append((tag, found))
        self.references += [
            value for key, value in found.items() if key in _NAMED_FILES and not value.startswith(("#", "data:"))
        ]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def report_on(folder: Path, **options: object) -> tuple[Page, str]:
    """Write the report of a folder and take it apart; every tag is closed."""
    html = write_report(ReportOptions(folder=folder, **options)).file.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    return page, html
