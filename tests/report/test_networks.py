"""Which network stands where in a report, what may share an axis, and the sentences it begins with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from resnet_deploy.bench.rows import BenchRow
from resnet_deploy.core.artifacts import NetRecord, read_manifest, write_manifest
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from resnet_deploy.nets.catalogue import find_net
from resnet_deploy.report.figures.latency import latency_charts
from resnet_deploy.report.gather import gather
from resnet_deploy.report.networks import families, find_networks, join_names, precisions_of
from resnet_deploy.report.report import ReportOptions, write_report
from resnet_deploy.report.summary import not_run, summarize_findings
from tests.report.documents import NET, make_benchmark, make_row, make_side, make_verdict, save

DEPTHS = ("resnet101", "resnet152", "resnet18", "resnet34", "resnet50")  # as a folder lists them
NATURAL = ["resnet20", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def _row(net: str, precision: Precision, *, on_gpu: bool = False, weights: str) -> BenchRow:
    return make_row(
        net, str(precision), milliseconds=None if on_gpu else float(net.removeprefix("resnet")), weights=weights,
        backend="tensorrt-rtx" if on_gpu else "openvino", file=f"{net}.{precision}.{'engine' if on_gpu else 'onnx'}",
    )  # fmt: skip


def _demo(
    folder: Path, *, engines: bool = True, verdicts: tuple[str, ...] = ("fp16", "int8"), rows: bool = True
) -> Path:
    """The files of a demo: resnet20 trained and judged, the ImageNet depths with random weights."""
    bench_rows = []
    for net in ("resnet20", *DEPTHS):
        trained = net == "resnet20"
        place = folder if trained else folder / "depths"
        place.mkdir(parents=True, exist_ok=True)
        weights = "trained" if trained else "random, seed 0"
        for precision in MAIN_PRECISIONS:
            given = {"net": NetRecord(name=net, num_classes=10), "precision": precision}
            given["preprocess"] = find_net(net).preprocess
            onnx, engine = place / f"{net}.{precision}.onnx", place / f"{net}.{precision}.engine"
            onnx.write_bytes(net.encode() * 1000 + precision.encode())
            write_manifest(onnx, kind="onnx", stage="export", details={"weights": weights}, **given)
            if engines:
                engine.write_bytes(onnx.read_bytes() * 2)
                details = {"product": "tensorrt-rtx", "product_version": "1.7.1", "seconds": 1.25}
                details["targets"] = ["sm80", "sm86", "sm120"]
                write_manifest(engine, kind="engine", stage="build", inputs={"onnx": onnx}, details=details, **given)
            bench_rows += [_row(net, precision, on_gpu=gpu, weights=weights) for gpu in (False, True)]
    for precision in verdicts:
        _judge(folder, precision)
    if rows:
        file = folder / "bench.json"
        save(make_benchmark(file, bench_rows), file, kind="benchmark", stage="bench")
    return folder


def _judge(folder: Path, precision: str, *, passed: bool = True, sha256: str = "") -> None:
    candidate = f"resnet20.{precision}.onnx"
    file = folder / f"{candidate}.verdict.json"
    verdict = make_verdict(file, passed=passed, candidate=make_side(candidate, precision, 99.33, sha256=sha256))
    verdict = replace(verdict, checks=tuple(replace(check, passed=passed) for check in verdict.checks))
    save(verdict, file, kind="verdict", stage="validate", net=NET, inputs={"candidate": folder / candidate})


def _summary(folder: Path) -> list[tuple[str, str]]:
    return [(line.tone, line.text) for line in summarize_findings(find_networks(gather(folder)))]


def test_trained_networks_come_first_then_depth_by_number(tmp_path: Path) -> None:
    networks = find_networks(gather(_demo(tmp_path)))
    assert [network.name for network in networks] == NATURAL
    assert [network.is_untrained for network in networks] == [False, *[True] * 5]


def test_every_table_of_the_page_keeps_that_order(tmp_path: Path) -> None:
    html = write_report(ReportOptions(folder=_demo(tmp_path))).file.read_text()
    for heading, cell in (
        ("networks", r"<strong>(resnet\d+)</strong>"),
        ("latency", r'<tr><th scope="row" class="l">(resnet\d+)<'),
        ("engines", r"<code>(?:depths/)?(resnet\d+)\.\w+\.engine</code>"),
    ):
        section = html.split(f'<section id="{heading}"', 1)[1].split("</section>", 1)[0]
        table = next(text for text in re.findall(r"<table>.*?</table>", section, re.DOTALL) if "hidden" not in text)
        assert list(dict.fromkeys(re.findall(cell, table))) == NATURAL, heading


def test_an_engine_shows_what_it_does_and_what_the_gate_made_of_it(tmp_path: Path) -> None:
    realised = {"asked": "int8", "known": True, "summary": "20 of 21 ...", "num_layers": 21, "num_as_asked": 20}
    for name, details in (
        ("net.int8.engine", {"realised": realised, "sanity": {"state": "failed", "reason": "rows"}}),
        ("net.fp16.engine", {"realised": {"asked": "fp16", "known": False, "summary": ""}}),
    ):
        (tmp_path / name).write_bytes(b"engine")
        write_manifest(tmp_path / name, kind="engine", stage="build", details={"targets": ["sm89"], **details})
    html = write_report(ReportOptions(folder=tmp_path)).file.read_text()
    table = html.split('<section id="engines"', 1)[1].split("</table>", 1)[0]
    rows = {re.search(r"<code>(.*?)</code>", row)[1]: row for row in table.split("<tr>")[2:]}
    assert "20 of 21" in rows["net.int8.engine"] and "✗ failed<" in rows["net.int8.engine"]
    assert "not known" in rows["net.fp16.engine"] and "! not run<" in rows["net.fp16.engine"]


def test_a_name_that_is_held_trained_and_random_stays_two_networks(tmp_path: Path) -> None:
    for folder, weights in (("", "trained"), ("depths", "random, seed 0")):
        (tmp_path / folder).mkdir(exist_ok=True)
        file = tmp_path / folder / "resnet18.fp32.onnx"
        file.write_bytes(weights.encode())
        net = NetRecord(name="resnet18", num_classes=10)
        write_manifest(file, kind="onnx", stage="export", net=net, details={"weights": weights})
    networks = find_networks(gather(tmp_path))
    assert [(n.name, n.weights, len(n.entries)) for n in networks] == [
        ("resnet18", "trained", 1),
        ("resnet18", "random, seed 0", 1),
    ]


def test_only_one_family_shares_the_axis_of_depths(tmp_path: Path) -> None:
    networks = find_networks(gather(_demo(tmp_path)))
    groups = [[network.name for network in members] for _, members in families(networks)]
    assert groups == [["resnet20"], NATURAL[1:]]
    headings = [chart.heading.replace("\u00a0", " ") for chart in latency_charts(networks, batch=1)]
    assert headings == ["Latency of resnet20, batch 1", "Latency against depth, ImageNet networks, 224 px, batch 1"]


def test_a_depth_that_is_there_twice_keeps_the_line_single_valued(tmp_path: Path) -> None:
    networks = list(find_networks(gather(_demo(tmp_path))))
    networks[0].name, networks[0].spec, networks[0].input_px = "resnet18", find_net("resnet18"), 224  # trained
    headings = [chart.heading for chart in latency_charts(networks, batch=1)]
    assert headings[0] == "Latency of resnet18, batch 1" and len(headings) == 2


def test_the_summary_speaks_of_the_judged_network_first(tmp_path: Path) -> None:
    lines = _summary(_demo(tmp_path))
    assert [tone for tone, _ in lines] == ["good", "plain", "plain"]
    assert lines[0][1] == (
        "resnet20: 3 engines built (TensorRT-RTX 1.7.1 for sm80 and newer); INT8 scores 99.33 % where FP32 scores "
        "99.50 % on 599 images; all 2 verdicts passed."
    )
    assert lines[1][1] == "Latency only, untrained: resnet18, 34, 50, 101, 152 (15 engines built)."
    assert lines[2][1] == (
        "The engines were built but not run here (no CUDA device); the verdicts are of the ONNX files they were "
        "built from."
    )


def test_the_summary_says_what_is_not_known(tmp_path: Path) -> None:
    lines = _summary(_demo(tmp_path, engines=False, verdicts=(), rows=False))
    assert lines[0][0] == "warn"
    assert lines[0][1].startswith("resnet20: no engine built; no verdict was taken, so nothing is known")
    assert lines[1:] == [("plain", "Latency only, untrained: resnet18, 34, 50, 101, 152.")]
    (tmp_path / "empty").mkdir()
    assert _summary(tmp_path / "empty") == [("warn", "Nothing was built: this folder holds no network.")]


def test_the_summary_begins_with_failures_and_their_reason(tmp_path: Path) -> None:
    _judge(_demo(tmp_path), "int8", passed=False)
    lines = _summary(tmp_path)
    assert lines[0] == ("bad", "1 of 2 verdicts FAILED: resnet20.int8.onnx (cosine 0.99, wanted >= 0.95).")
    assert lines[1][0] == "warn" and "1 of 2 verdicts passed" in lines[1][1]


def test_an_engine_that_was_judged_is_not_called_unproven(tmp_path: Path) -> None:
    _demo(tmp_path)
    manifest = read_manifest(tmp_path / "resnet20.int8.engine")
    _judge(tmp_path, "int8", sha256=manifest.sha256)
    assert not [text for _, text in _summary(tmp_path) if "not run here" in text]


def test_what_was_not_run_is_said_once_per_reason(tmp_path: Path) -> None:
    groups = not_run(find_networks(gather(_demo(tmp_path))))
    assert groups == [
        ("no CUDA device", ["tensorrt-rtx: resnet20, 18, 34, 50, 101, 152 in fp32, fp16, int8 (18 files)"])
    ]


def test_the_table_of_networks_has_costs_sizes_and_build_seconds(tmp_path: Path) -> None:
    html = write_report(ReportOptions(folder=_demo(tmp_path))).file.read_text()
    table = html.split('<section id="networks"', 1)[1].split("</table>", 1)[0]
    row = next(text for text in table.split("<tr>") if "<strong>resnet152</strong>" in text)
    cells = re.findall(r"<td[^>]*>(.*?)(?:<small>.*?)?</td>", row, re.DOTALL)
    size = len("resnet152") * 1000 + 4
    assert cells[:2] == ["11.69 M", "1.81 G"]
    assert cells[2:8] == [f"{size / 2**20:#.3g}"] * 3 + [f"{2 * size / 2**20:#.3g}"] * 3
    assert cells[8:11] == ["1.25"] * 3 and cells[11] == "152" and len(cells) == 12  # no GPU column without a GPU row


def test_a_common_prefix_is_said_once() -> None:
    assert join_names(["resnet18", "resnet34", "mine", "net5", "net7"]) == "resnet18, 34, mine, net5, 7"


def test_a_precision_beyond_the_usual_gets_a_column_where_a_file_has_it(tmp_path: Path) -> None:
    _demo(tmp_path)
    assert precisions_of(find_networks(gather(tmp_path))) == MAIN_PRECISIONS
    file = tmp_path / "resnet20.bf16.onnx"
    file.write_bytes(b"bf16")
    write_manifest(
        file,
        kind="onnx",
        stage="export",
        net=NetRecord(name="resnet20", num_classes=10),
        precision=Precision.BF16,
        details={"weights": "trained"},
    )
    found = precisions_of(find_networks(gather(tmp_path)))
    assert found == (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
    page = write_report(ReportOptions(folder=tmp_path)).file.read_text(encoding="utf-8")
    assert ">BF16</th>" in page and ">FP8</th>" not in page and 'colspan="4">ONNX, MiB' in page
