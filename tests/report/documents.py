"""Result documents as the commands write them, of made-up numbers, for the tests of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet_deploy.bench.advisor.advice import (
    AccuracyBasis,
    Advice,
    KnownAccuracy,
    KnownSpeed,
    Needs,
    Option,
    SpeedBasis,
    Standing,
)
from resnet_deploy.bench.compare import BenchComparison, RowComparison
from resnet_deploy.bench.machine.environment import capture_environment
from resnet_deploy.bench.measure.timing import Sampling, Timing, summarize
from resnet_deploy.bench.measure.warmup import WarmUp
from resnet_deploy.bench.roofline.bound import LayerBound, NetworkBound
from resnet_deploy.bench.roofline.catalogue import load_catalogue
from resnet_deploy.bench.roofline.estimate import Estimate
from resnet_deploy.bench.roofline.measured import MeasuredShare
from resnet_deploy.bench.rows import Benchmark, BenchRow
from resnet_deploy.core.artifacts import NetRecord, write_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.score import Score
from resnet_deploy.core.specs import Precision
from resnet_deploy.verify.accuracy import Accuracy
from resnet_deploy.verify.attribution.result import Attribution, ChainFile, Interaction, NotRun, PixelAlternative, Step
from resnet_deploy.verify.checks import Check
from resnet_deploy.verify.faults.bisection_result import Bisection
from resnet_deploy.verify.faults.divergence_result import ComparedFile, Divergence, LayerDivergence, TensorError
from resnet_deploy.verify.parity import Parity
from resnet_deploy.verify.statistics.result import (
    ClassRegression,
    ClassRegressions,
    Conclusion,
    DropDecision,
    FlippedImage,
    Flips,
    ImagesNeeded,
    MarginHistogram,
    Margins,
    PairedScore,
    PairedStatistics,
    Proportion,
    SequentialRun,
)
from resnet_deploy.verify.thresholds import Limits
from resnet_deploy.verify.verdict import Side, Verdict

SAMPLING = Sampling(min_samples=1)
NET = NetRecord(name="resnet20", num_classes=10)


def save(result: Any, file: Path, *, kind: str, stage: str, **manifest: Any) -> Path:
    """Write a result as its command does."""
    file.write_text(json.dumps(to_plain(result), indent=1, allow_nan=False))
    write_manifest(file, kind=kind, stage=stage, **manifest)
    return file


def make_accuracy(top1: float, num_images: int) -> Accuracy:
    return Accuracy(
        file="", backend="onnxruntime", device="cpu", data="digits/val", num_images=num_images,
        num_top1_hits=round(top1 * num_images / 100), top1_percent=top1, top1_low=top1 - 1, top1_high=top1 + 0.2,
        top5_percent=99.9, num_nonfinite_rows=0, seconds=1.0, images_per_second=100.0, per_class=(),
    )  # fmt: skip


def make_side(file: str, precision: str | None, top1: float | None, *, num_images: int = 599, sha256: str = "") -> Side:
    return Side(
        file=file, sha256=sha256 or file, backend="onnxruntime", version="1", device="cpu",
        precision=Precision(precision) if precision else None,
        accuracy=None if top1 is None else make_accuracy(top1, num_images),
    )  # fmt: skip


def make_parity(agreement: float | None, num_images: int = 599) -> Parity:
    return Parity(
        num_rows=num_images, num_values=10 * num_images, max_abs_error=0.1, mean_abs_error=0.01,
        max_relative_error=0.1, cosine=0.999, sqnr_db=27.4, gain=1.0, top1_agreement=agreement,
        num_reference_nonfinite=0, num_candidate_nonfinite=0,
    )  # fmt: skip


def make_verdict(file: Path, **changes: Any) -> Verdict:
    """INT8 against FP32 of resnet20 on 599 images, passed."""
    verdict = Verdict(
        file=str(file), net="resnet20", passed=True, reference=make_side("resnet20.fp32.onnx", "fp32", 99.5),
        candidate=make_side("resnet20.int8.onnx", "int8", 99.33), data="digits/val", num_images=599,
        parity=make_parity(0.995), top1_drop=0.17, drop_low=-0.2, drop_high=0.6, num_only_reference=2,
        num_only_candidate=1, limits=Limits(max_top1_drop=0.5, min_agreement=0.97, min_cosine=0.95, min_sqnr_db=10.0),
        checks=(Check(name="cosine", value=0.99, relation=">=", limit=0.95, passed=True),),
    )  # fmt: skip
    return replace(verdict, **changes)


def make_statistics(**changes: Any) -> PairedStatistics:
    def share(hits: int, count: int = 10_000) -> Proportion:
        percent = 100 * hits / count
        return Proportion(num_hits=hits, num_images=count, percent=percent, low=percent - 0.2, high=percent + 0.2)

    top1 = PairedScore(
        reference=share(8103), candidate=share(8090), num_both=8000, num_only_reference=103, num_only_candidate=90,
        num_neither=1807, drop=0.13, drop_low=-0.14, drop_high=0.4, p_exact=0.387, p_mid=0.3512, differs=False,
    )  # fmt: skip
    margins = Margins(num_images=155, p05=0.01, p25=0.02, p50=0.0456, p75=0.1, p95=0.3, largest=0.7)
    flips = Flips(
        rate=share(155), num_right_to_wrong=103, num_wrong_to_right=40, num_wrong_to_wrong=12,
        all_margins=replace(margins, num_images=10_000, p50=0.917), flipped_margins=margins,
        histogram=MarginHistogram(edges=(0.0, 0.25, 0.5, 1.0), num_all=(1200, 1500, 7300), num_flipped=(140, 14, 1)),
        suspicious=(
            FlippedImage(
                index=7, name="cat/0007.jpg", kind="right to wrong", label="cat", reference_class="cat",
                candidate_class="dog", reference_margin=0.71, candidate_margin=0.02,
            ),
        ),
    )  # fmt: skip
    statistics = PairedStatistics(
        level=0.05, top1=top1, top5=None,
        decision=DropDecision(
            max_drop=0.5, low=-0.1, high=0.36, conclusion=Conclusion.WITHIN, prove=False, method="score bounds",
        ),
        flips=flips,
        class_regressions=ClassRegressions(
            num_tested=10, num_significant=1,
            worst=(
                ClassRegression(
                    name="frog", num_images=1000, num_only_reference=40, num_only_candidate=5, drop=3.5, p=2e-8,
                    p_holm=2e-7, significant=True,
                ),
            ),
        ),
        images_needed=(ImagesNeeded(assumed_drop=0.13, power=0.8, num_images=8_765, suffices=True),),
        sequential=SequentialRun(
            num_images=3200, num_available=10_000, num_looks=50, stopped_early=True, reason="the drop is within",
            drop_low=-0.3, drop_high=0.45, agreement_low=98.0, agreement_high=98.9,
        ),
    )  # fmt: skip
    return replace(statistics, **changes)


def make_timing(milliseconds: float, *, batch: int = 1, seed: int = 0) -> Timing:
    seconds = milliseconds / 1e3 * (1 + 0.01 * np.random.default_rng(seed).standard_normal(40))
    warmup = WarmUp(passes=4, seconds=0.1, steady=True, rule="three rounds within 5 %", round_medians_ms=(1.0,))
    return summarize(seconds, batch=batch, warmup=warmup, sampling=SAMPLING)


def make_row(net: str, precision: str, *, milliseconds: float | None = 5.0, **changes: Any) -> BenchRow:
    batch = changes.get("batch", 1)
    row = BenchRow(
        net=net, precision=Precision(precision), backend="onnxruntime", version="1", device="cpu",
        file=f"{net}.{precision}.onnx", batch=batch,
        timing=None if milliseconds is None else make_timing(milliseconds, batch=batch),
        reason="not run: no CUDA device" if milliseconds is None else "", parameters=11_689_512,
        multiply_adds=1_814_073_344, file_mib=1.0, build_seconds=None, gmacs_per_second=None, weights="trained",
    )  # fmt: skip
    return replace(row, **changes)


def make_benchmark(file: Path, rows: list[BenchRow], **changes: Any) -> Benchmark:
    benchmark = Benchmark(
        file=str(file), rows=tuple(rows), environment=capture_environment(), load_1min_after=None, sampling=SAMPLING,
        threads=(0,), seconds=1.0, created="",
    )  # fmt: skip
    return replace(benchmark, **changes)


def make_attribution(file: Path, **changes: Any) -> Attribution:
    def chain_file(name: str, top1: float) -> ChainFile:
        return ChainFile(
            name=name, file=f"{name}.onnx", sha256="0" * 64, made=False, how="", precision=None, backend="onnxruntime",
            version="1", device="cpu", num_top1_hits=round(100 * top1), top1_percent=top1, top1_low=top1 - 0.7,
            top1_high=top1 + 0.7, num_nonfinite_rows=0,
        )  # fmt: skip

    def step(cause: str, before: float, after: float, *, identical: bool = False) -> Step:
        drop = before - after
        return Step(
            cause=cause, before="a", after="b", top1_before=before, top1_after=after, drop=drop, drop_low=drop - 0.2,
            drop_high=drop + 0.2, num_lost=40, num_gained=40 - round(100 * drop), num_flips=90, agreement=0.99,
            mcnemar_p=0.5, sqnr_db=20.0, distinguishable=abs(drop) > 0.2, identical=identical,
        )  # fmt: skip

    attribution = Attribution(
        file=str(file), net="resnet20", reference="resnet20.safetensors", candidate="resnet20.int8.onnx",
        data="cifar10/test", num_images=10_000, files=(chain_file("reference", 81.03), chain_file("int8", 80.3)),
        steps=(
            step("preprocessing", 81.03, 81.03, identical=True),
            step("quantisation", 81.03, 80.2),
            step("precision conversion", 80.2, 80.3),
        ),
        total=step("total", 81.03, 80.3),
        interaction=Interaction(
            cause="precision conversion", other="quantisation", drop_after=-0.1, drop_first=0.0, points=-0.1, low=-0.2,
            high=0.0,
        ),
        largest="quantisation", sentence="Quantisation costs 0.83 points.",
        not_run=(NotRun(cause="engine", file="resnet20.int8.engine", reason="no CUDA device"),),
        pixel_alternatives=(
            PixelAlternative(
                name="bgr", mistake="blue and red exchanged", num_changed=10_000, top1_percent=60.0, drop=20.3,
                drop_low=19.0, drop_high=21.5, num_flips=3000,
            ),
        ),
    )  # fmt: skip
    return replace(attribution, **changes)


def make_divergence(file: Path, **changes: Any) -> Divergence:
    def error(sqnr_db: float | None) -> TensorError:
        return TensorError(
            sqnr_db=sqnr_db, cosine=0.99, gain=1.0, max_abs_error=0.1, differing_share=0.25, num_nonfinite=0
        )

    def layer(name: str, block: str, introduced: float | None, reason: str = "") -> LayerDivergence:
        return LayerDivergence(
            layer=name, op_type="Conv", block=block, tensor=name, is_quantized=True, accumulated=error(20.0),
            introduced=error(introduced), reason=reason,
        )  # fmt: skip

    def compared(name: str, precision: Precision) -> ComparedFile:
        return ComparedFile(
            file=name, sha256="0" * 64, onnx=name, backend="onnxruntime", version="1", device="cpu", precision=precision
        )

    divergence = Divergence(
        file=str(file), net="resnet20", reference=compared("resnet20.fp32.onnx", Precision.FP32),
        candidate=compared("resnet20.int8.onnx", Precision.INT8), images="noise", num_images=32, limit_db=12.0,
        layers=(
            layer("conv1", "stem", 33.0),
            layer("layer1.0.conv1", "layer1.0", 6.5, "SQNR 6.5 dB is under 12.0 dB"),
            layer("fc", "fc", None),
        ),
        first="layer1.0.conv1", output=error(15.0), marked_output_db=300.0,
    )  # fmt: skip
    return replace(divergence, **changes)


def make_bisection(file: Path, **changes: Any) -> Bisection:
    def score(share: float) -> Score:
        return Score(
            num_images=1000, num_agreeing=round(1000 * share), agreement=share, agreement_low=share - 0.01,
            agreement_high=min(1.0, share + 0.01), num_nonfinite=0, sqnr_db=20.0,
        )  # fmt: skip

    bisection = Bisection(
        file=str(file), net="resnet20", reference="resnet20.fp32.onnx", candidate="resnet20.int8.onnx",
        images="photos", num_images=1000, metric="agreement", limit=0.97, candidate_score=score(0.61),
        blocks=("layer1.0",), layers=("layer1.0.conv1",), hybrid_score=score(0.985), met=True, is_irreducible=True,
        num_units={"block": 11, "layer": 22}, num_evaluations=9, num_reused=0, evaluations=(),
        requantized="resnet20.int8.excluded.onnx", requantized_score=score(0.984),
    )  # fmt: skip
    return replace(bisection, **changes)


def make_comparison(**changes: Any) -> BenchComparison:
    row = RowComparison(
        net="resnet20", precision=Precision.INT8, backend="onnxruntime", device="cpu", batch=1, threads=1,
        mode="kernel", workers=1, old_p50_ms=1.0, new_p50_ms=1.2, ratio=1.2, low=1.15, high=1.25, p_value=1e-6,
        p_regression=1e-5, margin=0.02, units="20 blocks", verdict="regression",
    )  # fmt: skip
    comparison = BenchComparison(
        old="old.json", new="bench.json", max_slowdown=0.02, confidence=0.99, rows=(row,), only_old=("resnet34",),
        only_new=(), differences=("driver: 550 and 560",), passed=False,
    )  # fmt: skip
    return replace(comparison, **changes)


def make_estimate(**changes: Any) -> Estimate:
    catalogue = load_catalogue()
    gpu = catalogue.find("l4")
    common = {
        "net": "resnet20", "size_px": 32, "width_px": 32, "precision": Precision.INT8, "batch": 1, "target": gpu.name,
        "fusion": "ideal",
    }  # fmt: skip
    layers = tuple(
        LayerBound(
            **common, name=f"{stage}.conv", stage=stage, kind="conv", type="int8", operations=10**6 * n,
            read_bytes=10_000, residual_bytes=0, weight_bytes=2_000, written_bytes=10_000, intensity=45.0 * n,
            arithmetic_us=0.01, dram_us=0.1, l2_us=0.05, latency_us=0.05, dram_latency_us=0.1, bound_by="memory",
        )
        for n, stage in enumerate(("stem", "layer1", "head"), start=1)
    )  # fmt: skip
    network = NetworkBound(
        **common, tf32=False, latency_ms=0.0125, images_per_second=123_456.0, dram_latency_ms=0.02,
        dram_images_per_second=50_000.0, bound_by="memory", memory_bound_share=0.75, dram_memory_bound_share=0.9, multiply_adds=40_813_184,
        moved_mb=1.5, num_kernels=23, is_confirmed=False,
    )  # fmt: skip
    share = MeasuredShare(
        net="resnet20", precision="int8", backend="tensorrt-rtx", device="NVIDIA L4", batch=1, target="l4", p50_ms=0.05,
        images_per_second=20_000.0, bound_latency_ms=0.0125, bound_images_per_second=123_456.0, latency_share=0.25,
        throughput_share=0.162, dram_latency_share=0.4, reason="",
    )  # fmt: skip
    estimate = Estimate(
        gpus=(gpu,), sources=dict(catalogue.sources), networks=(network,), layers=layers, not_estimated=(),
        published=(), measured=(share,), created="",
    )  # fmt: skip
    return replace(estimate, **changes)


def make_advice(file: Path, **changes: Any) -> Advice:
    def option(net: str, ms: float, top1: float, *, front: bool, basis: SpeedBasis = SpeedBasis.BOUND) -> Option:
        return Option(
            net=net, size_px=224, precision=Precision.INT8, batch=1, backend="", device="",
            speed=KnownSpeed(basis=basis, latency_ms=ms, images_per_second=1e3 / ms),
            accuracy=KnownAccuracy(basis=AccuracyBasis.PUBLISHED, top1_percent=top1), standing=Standing.MEASURE,
            on_front=front,
        )  # fmt: skip

    advice = Advice(
        file=str(file), target="l4", target_name="NVIDIA L4", target_watts=72.0, weights="torchvision-v1",
        needs=Needs(max_latency_ms=1.0, min_top1=70.0),
        options=(
            option("resnet18", 0.2, 69.7, front=True),
            option("resnet34", 0.5, 73.2, front=True, basis=SpeedBasis.MEASURED),
            option("resnet50", 0.6, 73.0, front=False),
        ),
        pareto=(0, 1), recommended=1, reasons=("resnet34 is the most accurate that may meet all needs.",),
        steps=("resnet-deploy build out/resnet34.int8.onnx --target sm89",), notes=("a bound is optimistic",),
    )  # fmt: skip
    return replace(advice, **changes)
