"""What each section shows of its documents: the numbers, and what stands against them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_deploy.report.report import ReportOptions, write_report
from resnet_deploy.verify.statistics.result import Conclusion
from tests.report.documents import (
    NET,
    make_advice,
    make_attribution,
    make_bisection,
    make_comparison,
    make_divergence,
    make_estimate,
    make_statistics,
    make_verdict,
    save,
)
from tests.report.page import Page


@pytest.fixture(scope="module")
def html(full_report: Path) -> str:
    return full_report.read_text(encoding="utf-8")


def text_of(html: str, section: str) -> str:
    """Words of a section; the tables behind its figures are left out."""
    part = html.split(f'<section id="{section}"', 1)[1].split("</section>", 1)[0]
    part = re.sub(r'<details class="numbers">.*?</details>', "", part, flags=re.DOTALL)
    return Page(f"<section{part}</section>").text


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("verdicts", ("✗ FAILED", "✓ passed", "599 digits/val", "1 image could not be used and is not counted", "a note")),
        (
            "statistics",
            (
                "+0.13 -0.14 to +0.40", "0.50 ✓ proven within bounds -0.10 to +0.36", "0.3512 exact 0.3870",
                "no difference shown", "8,765 for a power of 80% if the true drop is 0.13 points (these suffice)",
                "3,200 of 10,000 images, stopped early", "1.55 1.35 to 1.75 155 of 10,000 103 40 12 0.046 0.917",
                "cat/0007.jpg", "right to wrong cat cat dog 0.710 0.020", "1,000 40 5 +3.50 < 0.0001 < 0.0001 ✗ yes",
            ),
        ),
        (
            "attribution",
            (
                "Quantisation costs 0.83 points.", "81.03 81.03 the same by construction", "+0.83 +0.63 to +1.03 yes",
                "-0.10 -0.30 to +0.10 no", "blue and red exchanged 60.00 +20.30",
                "Not run: engine, resnet20.int8.engine : no CUDA device",
            ),
        ),
        (
            "faults",
            (
                "✗ First layer at fault: layer1.0.conv1", "SQNR 6.5 dB is under 12.0 dB", "--exclude layer1.0.conv1",
                "the candidate as it is 61.00 60.00 to 62.00", "limit 97.00", "resnet20.int8.excluded.onnx",
            ),
        ),
        (
            "latency",
            (
                "! 1 of 6 measurements are not valid", "other processes took 80% of the processors' time",
                "b is 1.667 (1.613 to 1.724) times as fast as a", "bound by decoding", "12.0 83.3 RAPL",
                "✗ Regression", "1.200 1.150 to 1.250 1.020 ✗ regression", "only in the old one: resnet34",
                "no CUDA device tensorrt-rtx: resnet20 in int8 (1 file)",
            ),
        ),
        ("roofline", ("0.0125 123,456 memory 75", "! unconfirmed", "0.0500 0.0125 25.0 16.2")),
        (
            "advice",
            (
                "at most 1.00 ms a pass; at least 70.0 % top-1", "! Recommended: resnet34 int8 224 px batch 1",
                "▸ resnet34 int8 224 1 0.500 measured 2,000 73.20 published", "out/resnet34.int8.onnx --target sm89",
            ),
        ),
        ("provenance", ("onnx resnet20.int8.onnx", "attribution resnet20.int8.onnx.attribution.json")),
        ("environment", ("Processor", "usable", "resnet-deploy 0.")),
        ("training", ("resnet20 2 20 30",)),
    ],
)  # fmt: skip
def test_a_section_shows_its_numbers(html: str, section: str, expected: tuple[str, ...]) -> None:
    text = text_of(html, section)
    for each in expected:
        assert each in text, f"{each!r} is not in {text}"


def test_the_numbers_behind_a_figure_stand_beside_it(html: str) -> None:
    figure = html.split('<figure id="figure-attribution-', 1)[1].split("</figure>", 1)[0]
    page = Page(f"<figure {figure}</figure>")
    assert "quantisation 81.03 80.2 0.83 0.63 1.03" in page.text
    assert page.of("a")[0]["download"] == "attribution-resnet20-int8-onnx.csv"


def one(folder: Path, document: object, kind: str) -> str:
    file = folder / f"one.{kind}.json"
    save(document, file, kind=kind, stage=kind)
    return write_report(ReportOptions(folder=folder)).file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "make", "section", "expected"),
    [
        (
            "divergence", lambda file: make_divergence(file, first=None, layers=make_divergence(file).layers[:1]),
            "faults", "✓ No layer is at fault",
        ),
        ("bisection", lambda file: make_bisection(file, blocks=(), layers=()), "faults", "nothing had to be searched"),
        ("bisection", lambda file: make_bisection(file, met=False), "faults", "✗ Not found"),
        (
            "advice", lambda file: make_advice(file, recommended=None, pareto=()), "advice",
            "✗ Nothing that was looked at can meet this",
        ),
        (
            "attribution", lambda file: make_attribution(file, steps=(), interaction=None, not_run=()), "attribution",
            "total a → b 81.03 80.30",
        ),
        ("estimate", lambda _: make_estimate(layers=(), networks=(), measured=()), "roofline", "true latency is higher"),
    ],
)  # fmt: skip
def test_a_document_with_the_other_outcome_is_told_so(
    tmp_path: Path, kind: str, make: Callable, section: str, expected: str
) -> None:
    assert expected in text_of(one(tmp_path, make(tmp_path / "x.json"), kind), section)


def test_a_comparison_that_passed_says_no_regression(tmp_path: Path) -> None:
    from tests.report.documents import make_benchmark, make_row

    bench = tmp_path / "bench.json"
    save(make_benchmark(bench, [make_row("resnet20", "int8")]), bench, kind="benchmark", stage="bench")
    rows = (replace(make_comparison().rows[0], verdict="no difference"),)
    html = one(tmp_path, make_comparison(passed=True, rows=rows), "comparison")
    assert "✓ No regression" in text_of(html, "latency") and "✗" not in text_of(html, "latency")


def test_an_undecided_loss_and_a_verdict_without_labels_are_told_so(tmp_path: Path) -> None:
    statistics = make_statistics()
    for name, changes in (
        ("a", {"decision": replace(statistics.decision, conclusion=Conclusion.UNDECIDED)}),
        ("b", {"decision": None, "top1": None, "class_regressions": None, "images_needed": (), "sequential": None}),
    ):
        file = tmp_path / f"{name}.verdict.json"
        verdict = make_verdict(file, statistics=replace(statistics, **changes))
        save(verdict, file, kind="verdict", stage="validate", net=NET)
    text = text_of(write_report(ReportOptions(folder=tmp_path)).file.read_text(encoding="utf-8"), "statistics")
    assert "! undecided" in text and "no labels" in text and "proven" not in text.split("! undecided")[1].split("no")[0]
