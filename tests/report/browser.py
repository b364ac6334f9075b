"""Headless Chromium with the network off: what it says of a page, and how wide the page is.

A copy of the page is measured, with a script in it that the page itself does not have; the page's own rule against
scripts and requests is taken out of the copy, so that a request would be made, and seen.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_SCRIPT = """<script>addEventListener("load", () => parent.postMessage({
  name: NAME, width: document.documentElement.scrollWidth, window: innerWidth,
  sections: [...document.querySelectorAll("section[id]")].map(s => s.id),
  requests: performance.getEntriesByType("resource").map(r => r.name),
  drawn: [...document.querySelectorAll("figure svg")].filter(s => s.getBoundingClientRect().height > 40).length,
}, "*"))</script>"""
_FRAMES = """<!doctype html><title>frames</title>{frames}<pre id="found"></pre><script>
const found = []
addEventListener("message", m => {{
  found.push(m.data)
  document.getElementById("found").textContent = JSON.stringify(found)
}})</script>"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One page in a frame of one width.

    Attributes:
        width, window: Of the content and of the frame, in px; the page scrolls sideways where the first is larger.
        sections: Ids in order.
        requests: Addresses that were asked for.
        drawn: Figures that can be seen.
    """

    name: str
    width: int
    window: int
    sections: list[str]
    requests: list[str]
    drawn: int


def console_messages(page: Path) -> list[str]:
    """All that the browser has to say of the page as it is; a page without a script has nothing to say."""
    return re.findall(r"CONSOLE\S*\] (.*)", _run(page)[1])


def measure(pages: dict[str, str], widths: tuple[int, ...], folder: Path) -> dict[tuple[str, int], Measured]:
    """Each page (name -> HTML) in a frame of each width (px), all in one run of the browser."""
    frames = []
    for name, html in pages.items():
        html = _POLICY.sub("", html).replace("</body>", _SCRIPT.replace("NAME", json.dumps(name)) + "</body>")
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
        frames += [f'<iframe src="{name}.html" style="width:{w}px;height:900px;border:0"></iframe>' for w in widths]
    wrapper = folder / "frames.html"
    wrapper.write_text(_FRAMES.format(frames="".join(frames)), encoding="utf-8")
    document = _run(wrapper)[0]
    text = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
    assert text and text[1], "the browser measured nothing"
    found = [Measured(**each) for each in json.loads(unescape(text[1]))]
    return {(each.name, each.window): each for each in found}


def _run(page: Path) -> tuple[str, str]:
    command = [
        PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={page.parent / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--hide-scrollbars", "--virtual-time-budget=3000", "--window-size=1600,1000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr
