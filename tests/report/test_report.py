"""The whole page: what it says first, what it leaves out, and that nothing in a file can break it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_deploy.core.artifacts import read_manifest, write_manifest
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.specs import Precision
from resnet_deploy.report.report import ReportOptions, write_report
from tests.report.documents import NET, make_benchmark, make_row, make_side, make_statistics, make_verdict, save
from tests.report.page import report_on


def save_verdict(folder: Path, *, precision: str = "int8", passed: bool = True, **changes: object) -> Path:
    """A verdict on `resnet20.<precision>.onnx`, which need not be there."""
    file = folder / f"resnet20.{precision}.onnx.verdict.json"
    verdict = make_verdict(file, passed=passed, candidate=make_side(f"resnet20.{precision}.onnx", precision, 96.83))
    checks = tuple(replace(check, value=check.value if passed else 0.5, passed=passed) for check in verdict.checks)
    return save(replace(verdict, checks=checks, **changes), file, kind="verdict", stage="validate", net=NET)


def test_an_empty_folder_gives_a_page_that_says_what_is_missing_and_how_to_make_it(tmp_path: Path) -> None:
    page, html = report_on(tmp_path)
    for kind in ("verdict", "attribution", "benchmark", "roofline", "recommendation", "engine", "bisection"):
        assert f"No {kind}: " in page.text, kind
    for command in ("validate", "attribute", "diverge", "bisect", "bench", "estimate", "advise", "build"):
        assert f"<code>resnet-deploy {command}" in html, command
    assert "! Not known No verdict was taken." in page.text and "Nothing was built" in page.text
    assert read_manifest(tmp_path / "report.html", kind="report")


def test_a_failed_verdict_comes_first_and_is_red(tmp_path: Path) -> None:
    save_verdict(tmp_path, precision="fp16")
    page, html = report_on(tmp_path)
    assert "FP16 scores 96.83 % where FP32 scores 99.50 % on 599 images; its verdict passed" in page.text
    assert "tone-bad" not in html.split("<body>")[1] and "✓ Yes" in page.text
    save_verdict(tmp_path, passed=False)
    page, html = report_on(tmp_path)
    body = html.split("<body>")[1]
    assert "✗ No" in page.text and "✓ Yes" not in page.text
    assert '<li class="tone-bad">1 of 2 verdicts FAILED: resnet20.int8.onnx (cosine 0.5, wanted &gt;= 0.95)' in body
    assert "1 of 2 verdicts passed" in page.text


def test_the_verdict_table_shows_both_sides_the_limits_and_the_agreement_with_its_interval(tmp_path: Path) -> None:
    save_verdict(tmp_path, notes=("one note",))
    page, _ = report_on(tmp_path)
    assert "resnet20.int8.onnx onnxruntime 1, cpu ✓ passed resnet20.fp32.onnx onnxruntime 1, cpu" in page.text
    assert "99.50 98.54 to 99.83 596 of 599" in page.text  # Wilson's interval of 596 in 599
    assert "✓ 0.99 ≥ 0.95" in page.text and "one note" in page.text


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    save_verdict(tmp_path)
    page, html = report_on(tmp_path)
    assert page.references == [] and not {"script", "img", "link", "iframe"} & page.tags and "svg" in page.tags
    assert "default-src 'none'" in html and "@import" not in html and "url(http" not in html


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_nothing_in_a_file_becomes_a_part_of_the_page(tmp_path: Path) -> None:
    statistics = make_statistics()
    worst = (replace(statistics.class_regressions.worst[0], name=HOSTILE),)
    statistics = replace(statistics, class_regressions=replace(statistics.class_regressions, worst=worst))
    candidate = replace(make_side("resnet20.int8.onnx", "int8", 96.83), file=f"$x^{{{HOSTILE}", backend=HOSTILE)
    file = tmp_path / "a.verdict.json"
    verdict = make_verdict(file, data=HOSTILE, notes=(HOSTILE,), net=HOSTILE, candidate=candidate)
    verdict = replace(verdict, statistics=statistics, checks=(replace(verdict.checks[0], name=HOSTILE),))
    manifest = {"kind": "verdict", "stage": HOSTILE, "options": {HOSTILE: HOSTILE}}
    save(verdict, file, **manifest, inputs={HOSTILE: (HOSTILE, HOSTILE)})
    row = make_row(HOSTILE, "int8", backend=HOSTILE, device=HOSTILE, file=HOSTILE, weights=HOSTILE)
    bench = tmp_path / "bench.json"
    save(make_benchmark(bench, [row, make_row("b", "fp32", milliseconds=None, reason=HOSTILE)]), bench,
         kind="benchmark", stage="bench")  # fmt: skip
    page, html = report_on(tmp_path, title=HOSTILE)
    assert not {"script", "img"} & page.tags and "<script" not in html
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 10  # all of it is there, as text


def test_broken_files_are_left_out_with_their_names(tmp_path: Path) -> None:
    file = save_verdict(tmp_path)
    file.write_text('{"passed": tr')
    other = save_verdict(tmp_path, precision="fp16")
    other.write_text('{"passed": true}')
    write_manifest(other, kind="verdict", stage="validate")
    (tmp_path / "x.metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    (tmp_path / "y.onnx").write_bytes(b"12")
    (tmp_path / "y.onnx.json").write_text("not json")
    result = write_report(ReportOptions(folder=tmp_path))
    assert result.num_verdicts == 0 and len(result.unreadable) == 4
    page, _ = report_on(tmp_path)
    for text in (
        "resnet20.int8.onnx.verdict.json: changed or cut off",
        "resnet20.fp16.onnx.verdict.json is not a verdict of this version",
        "x.metrics.jsonl, line 2",
        "y.onnx.json is not a manifest",
    ):
        assert text in page.text
    assert max(map(len, result.unreadable)) < 300  # a list of a hundred keys helps nobody


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere: no such folder"):
        write_report(ReportOptions(folder=tmp_path / "nowhere"))


def test_a_verdict_on_a_file_that_was_made_anew_is_called_out_of_date(tmp_path: Path) -> None:
    candidate = tmp_path / "resnet20.int8.onnx"
    candidate.write_bytes(b"first")
    write_manifest(candidate, kind="onnx", stage="quantize", precision=Precision.INT8)
    verdict = save_verdict(tmp_path)
    write_manifest(verdict, kind="verdict", stage="validate", inputs={"candidate": candidate})
    assert "OUT OF DATE" not in report_on(tmp_path)[0].text
    candidate.write_bytes(b"second")
    write_manifest(candidate, kind="onnx", stage="quantize", precision=Precision.INT8)
    page, _ = report_on(tmp_path)
    assert "OUT OF DATE" in page.text and "verdict passed" not in page.text and "! out of date" in page.text
    assert "✗ No" in page.text and "✗ broken: made from" in page.text


def test_figures_are_written_beside_the_report_where_a_folder_is_named(tmp_path: Path) -> None:
    save_verdict(tmp_path)
    result = write_report(ReportOptions(folder=tmp_path, figures=tmp_path / "figures"))
    assert [file.name for file in result.figures] == ["accuracy.png", "accuracy.svg", "accuracy.csv"]
    assert all(file.stat().st_size > 100 for file in result.figures)
    assert (tmp_path / "figures" / "accuracy.csv").read_text().splitlines()[1] == (
        '"resnet20.fp32.onnx, onnxruntime",fp32,99.5,98.5,99.7'
    )


def test_two_networks_whose_names_make_one_file_name_keep_two_figures(tmp_path: Path) -> None:
    rows = [make_row("my net", "int8", file="a.onnx"), make_row("my_net", "int8", file="b.onnx")]
    save(make_benchmark(tmp_path / "bench.json", rows), tmp_path / "bench.json", kind="benchmark", stage="bench")
    page, _ = report_on(tmp_path)
    names = [attributes["id"] for attributes in page.of("figure")]
    assert names == ["figure-latency-batch1-my-net", "figure-latency-batch1-my-net-2"]


def test_the_result_is_plain_for_json(tmp_path: Path) -> None:
    from resnet_deploy.core.config import to_plain

    save_verdict(tmp_path)
    plain = json.loads(json.dumps(to_plain(write_report(ReportOptions(folder=tmp_path)))))
    assert plain["answer"].startswith("Yes. Its verdict passed") and plain["num_verdicts"] == 1
    assert plain["sections"] == ["Verdicts", "Networks", "Provenance", "Environment"]
