from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from resnet_deploy.bench.run import BenchRow
from resnet_deploy.bench.timing import Sampling, summarize
from resnet_deploy.core.artifacts import NetRecord, read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.specs import Precision
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.report.gather import TrainingCurve, gather
from resnet_deploy.report.networks import Network, find_networks
from resnet_deploy.report.plots import ScorePoint, accuracy_plot, curve_plot, latency_plots, size_plot
from resnet_deploy.report.report import ReportOptions, write_report


class _Page(HTMLParser):
    """Tags that are open, every attribute that names another resource, and the text."""

    _VOID = ("meta", "br", "img", "link", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.references, self.tags, self.words = [], [], set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action") and v[:1] != "#"]
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _side(name: str, precision: str, top1: float) -> dict:
    accuracy = {"num_images": 599, "top1_percent": top1, "top1_low": top1 - 2, "top1_high": top1 + 1}
    return {
        "file": f"out/{name}", "sha256": name, "backend": "onnxruntime", "version": "1", "device": "cpu",
        "precision": precision, "accuracy": accuracy,
    }  # fmt: skip


def _save_verdict(folder: Path, *, precision: str, passed: bool, data: str = "digits/val") -> None:
    file = folder / f"net.{precision}.onnx.verdict.json"
    verdict = {
        "net": "resnet20", "passed": passed, "data": data, "num_images": 599, "top1_drop": 0.17, "drop_low": -0.2,
        "drop_high": 0.6, "reference": _side("net.fp32.onnx", "fp32", 97.0),
        "candidate": _side(f"net.{precision}.onnx", precision, 96.83),
        "parity": {"top1_agreement": 0.995, "sqnr_db": 27.4},
        "checks": [{"name": "top-1 agreement", "value": 0.5, "relation": ">=", "limit": 0.97, "passed": passed}],
        "notes": ["one note"],
    }  # fmt: skip
    file.write_text(json.dumps(verdict))
    write_manifest(file, kind="verdict", stage="validate", net=NetRecord(name="resnet20", num_classes=10))


def _report(folder: Path, **options) -> tuple[_Page, str]:
    html = write_report(ReportOptions(folder=folder, **options)).file.read_text()
    page = _Page(html)
    assert page.open == []
    return page, html


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page, _ = _report(tmp_path)
    for sentence in (
        "No verdict",
        "No training curve",
        "No benchmark",
        "No engine",
        "Nothing was built",
    ):
        assert sentence in page.text
    assert read_manifest(tmp_path / "report.html", kind="report")


def test_a_failed_verdict_comes_first_and_is_red(tmp_path: Path) -> None:
    _save_verdict(tmp_path, precision="fp16", passed=True)
    page, html = _report(tmp_path)
    assert "FP16 scores 96.83 % where FP32 scores 97.00 % on 599 images; its verdict passed" in page.text
    assert "tone-bad" not in html.split("<body>")[1]
    _save_verdict(tmp_path, precision="int8", passed=False)
    page, html = _report(tmp_path)
    body = html.split("<body>")[1]
    assert '<p class="tone-bad">1 of 2 verdicts FAILED: net.int8.onnx (top-1 agreement 0.5' in body
    assert body.index("tone-bad") < body.index("tone-warn") and "tone-good" not in body
    assert "1 of 2 verdicts passed" in page.text and "one note" in page.text


def test_the_verdict_table_shows_both_sides_the_limits_and_the_agreement_with_its_interval(tmp_path: Path) -> None:
    _save_verdict(tmp_path, precision="int8", passed=True)
    page, _ = _report(tmp_path)
    assert "net.int8.onnx onnxruntime 1, cpu passed net.fp32.onnx onnxruntime 1, cpu" in page.text
    assert "99.50 98.54 to 99.83 596 of 599" in page.text  # Wilson's interval of 596 in 599
    assert "top-1 agreement" in page.text and "0.5 ≥ 0.97" in page.text


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    _save_verdict(tmp_path, precision="int8", passed=True)
    page, html = _report(tmp_path)
    assert page.references == [] and "script" not in page.tags and "svg" in page.tags
    assert "default-src 'none'" in html and "@import" not in html and "url(http" not in html


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    _save_verdict(tmp_path, precision="int8", passed=True, data="<script>alert(1)</script>")
    page, html = _report(tmp_path, title="a <b> & c")
    assert "script" not in page.tags and "<script>" not in html and "a <b> & c" in page.text


def test_broken_files_are_left_out_with_their_names(tmp_path: Path) -> None:
    _save_verdict(tmp_path, precision="int8", passed=True)
    (tmp_path / "net.int8.onnx.verdict.json").write_text('{"passed": tr')
    (tmp_path / "x.metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    (tmp_path / "y.onnx").write_bytes(b"12")
    (tmp_path / "y.onnx.json").write_text("not json")
    findings = gather(tmp_path)
    assert findings.verdicts == () and findings.curves == () and len(findings.unreadable) == 3
    page, _ = _report(tmp_path)
    for name in ("net.int8.onnx.verdict.json", "x.metrics.jsonl, line 2", "y.onnx.json is not a manifest"):
        assert name in page.text


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere: no such folder"):
        write_report(ReportOptions(folder=tmp_path / "nowhere"))


def _row(net: str, precision: Precision, batch: int, p50_ms: float | None) -> BenchRow:
    timing = None
    if p50_ms is not None:
        sampling = Sampling(min_samples=1)
        timing = summarize([p50_ms / 1e3], batch=batch, warmup_passes=1, sampling=sampling)
    return BenchRow(
        net=net, precision=precision, backend="onnxruntime", version="1", device="cpu", file=f"{net}.onnx", batch=batch,
        timing=timing, reason="" if timing else "not run: no CUDA device", parameters=1, multiply_adds=1, file_mib=1.0,
        build_seconds=None, gmacs_per_second=None, weights="trained",
    )  # fmt: skip


def _of(rows: list[BenchRow]) -> list[Network]:
    names = dict.fromkeys(row.net for row in rows)
    return [
        Network(name=n, is_untrained=False, spec=find_net(n), input_px=224, rows=[r for r in rows if r.net == n])
        for n in names
    ]


def _networks(folder: Path) -> list[Network]:
    file = folder / "resnet18.fp32.onnx"
    file.write_bytes(b"0" * 4096)
    net = NetRecord(name="resnet18", num_classes=1000)
    write_manifest(file, kind="onnx", stage="export", net=net, precision=Precision.FP32)
    return list(find_networks(gather(folder)))


def test_every_figure_is_whole_xml_in_the_ink_of_the_page(tmp_path: Path) -> None:
    rows = [_row(n, p, 1, ms) for n, ms in (("resnet18", 5.0), ("resnet50", 9.0)) for p in Precision]
    figures = [
        accuracy_plot([ScorePoint(label="a", precision="int8", top1=90, low=88, high=92)]),
        curve_plot([TrainingCurve(name="n", epochs=(1, 2), train_error=(50, 20), val_error=(None, 30))]),
        size_plot(_networks(tmp_path)),
        *(svg for _, svg in latency_plots(_of(rows), batch=1)),
        *(svg for _, svg in latency_plots(_of(rows[:3]), batch=1)),
    ]
    assert len(figures) == 5
    for figure in figures:
        ElementTree.fromstring(figure)
        assert (
            "currentColor" in figure
            and "#123456" not in figure
            and "http" not in re.sub(r'xmlns[^"]*"[^"]*"', "", figure)
        )


def test_what_was_not_measured_is_not_drawn() -> None:
    assert latency_plots(_of([_row("resnet18", Precision.INT8, 1, None)]), batch=1) == []
    assert latency_plots(_of([_row("resnet18", Precision.INT8, 1, 4.0)]), batch=8) == []
    assert accuracy_plot([]) == curve_plot([]) == size_plot([]) == ""


def test_a_verdict_on_a_file_that_was_made_anew_is_called_out_of_date(tmp_path: Path) -> None:
    candidate = tmp_path / "net.int8.onnx"
    candidate.write_bytes(b"first")
    write_manifest(candidate, kind="onnx", stage="quantize", precision=Precision.INT8)
    _save_verdict(tmp_path, precision="int8", passed=True)
    verdict = tmp_path / "net.int8.onnx.verdict.json"
    write_manifest(verdict, kind="verdict", stage="validate", inputs={"candidate": candidate})
    assert "OUT OF DATE" not in _report(tmp_path)[0].text
    candidate.write_bytes(b"second")
    write_manifest(candidate, kind="onnx", stage="quantize", precision=Precision.INT8)
    page, _ = _report(tmp_path)
    assert "OUT OF DATE" in page.text and "verdict passed" not in page.text and "out of date" in page.text
