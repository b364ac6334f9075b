"""A folder that holds every kind of document, for the tests that look at the whole page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_deploy.bench.machine.energy import Energy
from resnet_deploy.bench.machine.validity import Validity
from resnet_deploy.bench.measure.application import Application, Stage
from resnet_deploy.bench.measure.interleave import Interleaved
from resnet_deploy.bench.measure.paired import Ratio
from resnet_deploy.core.artifacts import write_manifest
from resnet_deploy.core.specs import MAIN_PRECISIONS, Precision
from tests.report.documents import (
    NET,
    make_advice,
    make_attribution,
    make_benchmark,
    make_bisection,
    make_comparison,
    make_divergence,
    make_estimate,
    make_row,
    make_side,
    make_statistics,
    make_verdict,
    save,
)


def make_everything(folder: Path) -> Path:
    """Files of one network, a verdict that passed and one that failed, and one document of every other kind."""
    for precision in MAIN_PRECISIONS:
        onnx, engine = folder / f"resnet20.{precision}.onnx", folder / f"resnet20.{precision}.engine"
        onnx.write_bytes(b"onnx" * 1000)
        given = {"net": NET, "precision": precision}
        write_manifest(onnx, kind="onnx", stage="export", details={"weights": "trained"}, **given)
        engine.write_bytes(b"engine" * 1000)
        details = {"targets": ["sm89"], "seconds": 1.5, "product": "tensorrt-rtx"}
        write_manifest(engine, kind="engine", stage="build", inputs={"onnx": onnx}, details=details, **given)
    for precision, passed in ((Precision.FP16, True), (Precision.INT8, False)):
        onnx = folder / f"resnet20.{precision}.onnx"
        file = folder / f"{onnx.name}.verdict.json"
        verdict = make_verdict(file, passed=passed, candidate=make_side(onnx.name, str(precision), 99.0))
        verdict = replace(verdict, statistics=make_statistics(), notes=("a note",), bad_images=("x.jpg: broken",))
        save(verdict, file, kind="verdict", stage="validate", net=NET, inputs={"candidate": onnx})
    onnx = folder / "resnet20.int8.onnx"
    for kind, make in (
        ("attribution", make_attribution),
        ("divergence", make_divergence),
        ("bisection", make_bisection),
    ):
        file = folder / f"{onnx.name}.{kind}.json"
        save(make(file), file, kind=kind, stage=kind, inputs={"candidate": onnx})
    file = folder / "bench.json"
    save(_benchmark(file), file, kind="benchmark", stage="bench")
    for name, document in (
        ("comparison", make_comparison()),
        ("estimate", make_estimate()),
        ("advice", make_advice(folder / "advice.json")),
    ):
        save(document, folder / f"{name}.json", kind=name, stage=name)
    metrics = '{"epoch": 1, "train_error_percent": 50.0, "val_error_percent": null}\n'
    metrics += '{"epoch": 2, "train_error_percent": 20.0, "val_error_percent": 30.0}\n'
    (folder / "resnet20.metrics.jsonl").write_text(metrics)
    return folder


def _benchmark(file: Path):
    stages = tuple(Stage(name=n, p50_ms=p, share=p / 4) for n, p in (("decode", 2.5), ("network", 1.5)))
    application = Application(
        images="16 synthetic JPEG images", stages=stages, decode_threads=2, pipelined_images_per_second=400.0,
        pipelined_interval=(390.0, 410.0), bound_by="decoding",
    )  # fmt: skip
    doubt = Validity(valid=False, reasons=("other processes took 80% of the processors' time",))
    energy = Energy(joules_per_image=0.012, images_per_joule=83.3, source="RAPL", covers="the processor packages")
    rows = [
        make_row("resnet20", "fp32", energy=energy),
        make_row("resnet20", "int8", milliseconds=3.0, validity=doubt),
        make_row("resnet20", "int8", milliseconds=4.0, mode="application", application=application),
        make_row("resnet20", "int8", milliseconds=None, backend="tensorrt-rtx", file="resnet20.int8.engine"),
        *(
            make_row(f"resnet{depth}", "int8", milliseconds=float(depth), weights="random, seed 0")
            for depth in (18, 34, 50)
        ),
    ]
    ratio = Ratio(
        ratio=0.6, low=0.58, high=0.62, confidence=0.99, p_value=1e-9, num_rounds=20, noise_floor=0.01, differs=True
    )
    pair = Interleaved(
        first="a", other="b", batch=1, threads=1, ratio=ratio, says="b is 1.667 (1.613 to 1.724) times as fast as a"
    )
    return make_benchmark(file, rows, interleaved=(pair,))
