"""INT8 within an accuracy budget: the cheapest layers to leave in float, scored on the file that is delivered."""

from __future__ import annotations

__all__ = ["BudgetOptions", "BudgetResult", "FrontPoint", "quantize_within_budget"]

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_deploy.core.artifacts import Manifest, is_up_to_date, read_manifest, refuse_pixels, write_result
from resnet_deploy.core.config import from_plain
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.files import sha256_of_file
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score
from resnet_deploy.core.specs import Precision
from resnet_deploy.draw.figure import save_png
from resnet_deploy.draw.pareto import TradeOff, draw_trade_off
from resnet_deploy.quant.budget_search import Limits, Measured, PathPoint, SearchOutcome, search
from resnet_deploy.quant.candidates import Candidates
from resnet_deploy.quant.cost import COST_UNITS
from resnet_deploy.quant.noise import NoiseModel
from resnet_deploy.quant.quantize import QuantizeOptions, QuantizeResult, quantize_onnx
from resnet_deploy.quant.scoring import ScoringImages, load_scoring_images

_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "matplotlib")


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetOptions:
    """What the quantised file must hold, on which images, and what a layer in float costs.

    Attributes:
        limits: What the delivered file shall hold.
        data, split: The images, as `data.source.open_images` takes them; never those of calibration.
        num_images: A stratified sample of that many; 0 takes all.
        seed: Chooses them.
        cost: A key of `quant.cost.COST_UNITS` that needs no file, or a JSON file of measured times.
        num_threads: 0 takes all processors.
    """

    limits: Limits
    data: str
    split: str | None = None
    num_images: int = 0
    seed: int = 0
    cost: str = "multiply-adds"
    num_threads: int = 0

    def __post_init__(self) -> None:
        if min(self.num_images, self.seed, self.num_threads) < 0:
            raise ConfigError(
                f"budget: num_images {self.num_images}, seed {self.seed} and num_threads {self.num_threads} "
                "must not be negative"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """One set of float layers.

    Attributes:
        cost: Share of the cost that these layers have, 0 to 1.
        score: None where it was only predicted.
        is_on_front: No cheaper set that was measured agrees with FP32 as often.
    """

    float_nodes: tuple[str, ...]
    cost: float
    predicted_agreement: float
    score: Score | None
    is_on_front: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetResult:
    """A finished search; the file holds the set that was chosen.

    Attributes:
        file: The quantised network.
        report, picture: This result as JSON, and accuracy against cost as PNG.
        met: Whether `delivered` holds the limits.
        reference_top1_percent: Of FP32; None without labels.
        int8: The score with everything in int8 that can be (but for what the user excluded).
        delivered: The score of the file on the disk, by ONNX Runtime.
        float_nodes: What stays in float.
        cost: Its share of the cost named by `cost_unit`.
        multiply_adds_in_float: Its share of the network's multiply-adds.
        num_additions_in_float: Residual additions among it: they have no multiply-adds but move float tensors.
        points: All that was measured, and the predicted path, by cost.
        num_measured: Sets that were run over all images, the delivered file not counted.
    """

    file: Path
    file_sha256: str
    report: Path
    picture: Path
    met: bool
    limits: Limits
    images: str
    num_images: int
    reference_top1_percent: float | None
    int8: Score
    delivered: Score
    float_nodes: tuple[str, ...]
    cost_unit: str
    cost: float
    multiply_adds_in_float: float
    num_additions_in_float: int
    points: tuple[FrontPoint, ...]
    num_measured: int
    seconds: float
    skipped: bool = False


def quantize_within_budget(
    options: QuantizeOptions, budget: BudgetOptions, progress: Progress = NO_PROGRESS
) -> tuple[QuantizeResult, BudgetResult]:
    """Write the INT8 file that holds the limits at the least cost, or the best one where none does.

    A first-order noise model orders the layers; the sets along that order are measured with ONNX Runtime, and the
    file that is delivered is read back and scored by itself. Finished scores are kept in `<file>.scores.jsonl`, so a
    search that was killed goes on; the file is removed at the end.

    Raises:
        ConfigError: Another precision than INT8, an unknown cost, or a top-1 limit on images without labels.
        ArtifactError, CalibrationError, GraphError: As `quantize_onnx`.
        DataError: The images can not be used.
    """
    start = time.perf_counter()
    if options.precision is not Precision.INT8 or options.float_precision is Precision.BF16:
        raise ConfigError(
            f"a budget is kept for int8 only, with fp16 or fp32 elsewhere, not for {options.precision} with "
            f"{options.float_precision}: ONNX Runtime does not run that on a processor",
            remedy="leave out --precision and --float, or the limits",
        )
    manifest = read_manifest(options.onnx, kind="onnx")
    refuse_pixels(options.onnx, manifest)
    images = _images(options, budget, manifest, progress)
    inputs, made_with = _provenance(options, budget, images)
    file = options.file()
    report = file.with_name(f"{file.name.removesuffix('.onnx')}.budget.json")
    if not options.force and (known := _finished(report, file, inputs, made_with)) is not None:
        file_again = quantize_onnx(replace(options, exclude=known.float_nodes), progress)
        if file_again.skipped:
            return file_again, known
    work = Candidates(options, budget.cost, manifest, images, num_threads=budget.num_threads, progress=progress)
    path = work.path()
    progress.start(f"sets of float layers on {images.description}", None)
    outcome = search(
        path,
        budget.limits,
        work.measure,
        costs=work.costs,
        noise=work.noise,
        confirm=work.deliver,
        progress=progress,
    )
    chosen = [work.layers[node] for node in outcome.chosen.float_nodes if node in work.layers]
    result = BudgetResult(
        file=file,
        file_sha256=sha256_of_file(file),
        report=report,
        picture=report.with_suffix(".png"),
        met=outcome.met,
        limits=budget.limits,
        images=images.description,
        num_images=len(images.pixels),
        reference_top1_percent=images.top1_percent,
        int8=work.measure(path[0].float_nodes),
        delivered=outcome.chosen.score,
        float_nodes=outcome.chosen.float_nodes,
        cost_unit=work.cost_unit,
        cost=outcome.chosen.cost,
        multiply_adds_in_float=sum(layer.multiply_adds for layer in chosen)
        / sum(layer.multiply_adds for layer in work.layers.values()),
        num_additions_in_float=sum(layer.additions > 0 for layer in chosen),
        points=_points(outcome, path, work.noise),
        num_measured=len(outcome.measured),
        seconds=time.perf_counter() - start,
    )
    _write(result, path, manifest, inputs, made_with)
    work.log.remove()
    return work.written, result


def _images(options: QuantizeOptions, budget: BudgetOptions, manifest: Manifest, progress: Progress) -> ScoringImages:
    images = load_scoring_images(
        options.onnx,
        manifest,
        data=budget.data,
        split=budget.split,
        num_images=budget.num_images,
        seed=budget.seed,
        num_threads=budget.num_threads,
        progress=progress,
    )
    if budget.limits.max_drop is not None and images.labels is None:
        raise ConfigError(
            f"a limit on the loss of top-1 was given, but {images.description} has no labels",
            remedy="give labelled images, or --min-agreement, which needs none",
        )
    return images


def _provenance(options: QuantizeOptions, budget: BudgetOptions, images: ScoringImages) -> tuple[dict, dict]:
    inputs = {
        "onnx": Path(options.onnx),
        "calibration": options.table_file(),
        "images": (images.description, images.fingerprint),
    }
    if Path(budget.cost).is_file():
        inputs["latencies"] = Path(budget.cost)
    made_with = {
        "float_precision": options.float_precision,
        "exclude": sorted(options.exclude),
        "keep_float": sorted(options.keep_float),
        "exact_input": options.exact_input,
        "unsigned_relu": options.unsigned_relu,
        "refine": options.refine,
        "limits": budget.limits,
        "cost": budget.cost if budget.cost in COST_UNITS else "latency",
    }
    return inputs, made_with


def _finished(report: Path, file: Path, inputs: dict, made_with: dict) -> BudgetResult | None:
    """The result that is there already, if it is of these very inputs and options and its file is whole."""
    if not is_up_to_date(report, stage="quantize", inputs=inputs, options=made_with):
        return None
    known = from_plain(BudgetResult, json.loads(report.read_text(encoding="utf-8")), source=str(report))
    if not file.is_file() or sha256_of_file(file) != known.file_sha256:
        return None
    return replace(known, file=file, report=report, picture=report.with_suffix(".png"), skipped=True)


def _points(outcome: SearchOutcome, path: tuple[PathPoint, ...], noise: NoiseModel) -> tuple[FrontPoint, ...]:
    scores = {found.float_nodes: found.score for found in outcome.measured}
    costs = {found.float_nodes: found.cost for found in (*path, *outcome.measured)}
    front = _front(outcome.measured)
    points = [
        FrontPoint(
            float_nodes=nodes,
            cost=cost,
            predicted_agreement=1 - float(noise.flips(nodes).mean()),
            score=scores.get(nodes),
            is_on_front=nodes in front,
        )
        for nodes, cost in costs.items()
    ]
    return tuple(sorted(points, key=lambda point: point.cost))


def _front(measured: Collection[Measured]) -> set[tuple[str, ...]]:
    """Those for which nothing of the same or a smaller cost agrees as often or more."""
    front, best = set(), -1.0
    for found in sorted(measured, key=lambda m: (m.cost, -m.score.agreement)):
        if found.score.agreement > best:
            front.add(found.float_nodes)
            best = found.score.agreement
    return front


def _write(
    result: BudgetResult, path: tuple[PathPoint, ...], manifest: Manifest, inputs: dict, made_with: dict
) -> None:
    measured = [_trade_off(p.cost, p.score, p.is_on_front) for p in result.points if p.score is not None]
    figure = draw_trade_off(
        measured,
        predicted=[(100 * point.cost, 100 * point.predicted_agreement) for point in path],
        limit_percent=None if result.limits.min_agreement is None else 100 * result.limits.min_agreement,
        chosen=_trade_off(result.cost, result.delivered, False),
        title=f"{result.file.name}, {result.num_images:,} images",
        cost_label=COST_UNITS[result.cost_unit] + ", in float",
    )
    save_png(figure, result.picture)
    write_result(
        result,
        result.report,
        kind="analysis",
        stage="quantize",
        inputs=inputs,
        options=made_with,
        packages=_PACKAGES,
        parent=manifest,
        details={"met": result.met, "cost": result.cost, "agreement": result.delivered.agreement},
    )


def _trade_off(cost: float, score: Score, is_on_front: bool) -> TradeOff:
    return TradeOff(
        cost_percent=100 * cost,
        agreement_percent=100 * score.agreement,
        low_percent=100 * score.agreement_low,
        high_percent=100 * score.agreement_high,
        is_on_front=is_on_front,
    )
