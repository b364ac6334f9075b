"""Which layers and blocks suffer from int8: predicted for all of them, measured for the worst."""

from __future__ import annotations

__all__ = ["METRICS", "SensitivityOptions", "SensitivityReport", "UnitSensitivity", "analyze_sensitivity"]

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from resnet_deploy.core.artifacts import Manifest, is_up_to_date, read_result, write_result
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.score import Score
from resnet_deploy.core.score_log import ScoreLog, score_key
from resnet_deploy.core.specs import Precision
from resnet_deploy.draw.figure import save_png
from resnet_deploy.draw.sensitivity import draw_sensitivity
from resnet_deploy.graph.layer_cost import layer_cost
from resnet_deploy.quant.insertion import insert_qdq
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.noise import NoiseModel, measure_noise
from resnet_deploy.quant.prepare import prepare
from resnet_deploy.quant.sample import net_stem, read_fp32_manifest
from resnet_deploy.quant.scoring import ScoringImages, load_scoring_images, logits_of_model, score_logits
from resnet_deploy.quant.table import CalibrationTable
from resnet_deploy.quant.trt_cache import read_scales
from resnet_deploy.quant.units import block_units, layer_units, placement_of

_UNITS = {"layer": layer_units, "block": block_units}
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "matplotlib")

METRICS = {
    "sqnr": lambda score: -np.inf if score.sqnr_db is None else -score.sqnr_db,
    "agreement": lambda score: -score.agreement,
    "top1": lambda score: 0.0 if score.drop is None else score.drop,
}
"""Name -> how bad a score is, the larger the worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityOptions:
    """What to rank, on which images.

    Attributes:
        onnx: FP32 file that `export` wrote.
        table: Calibration table made from it, or a TensorRT calibration cache; None takes `<stem>.calib.json` beside
            it.
        data, split: What `data.source.open_images` takes.
        num_images: A stratified sample of that many; 0 takes all.
        by: "layer" (convolutions, classifier, residual additions, pools) or "block" (stem, layer1.0 ..., fc).
        metric: A key of METRICS, by which the measured units are ranked.
        num_measured: So many units, those with the worst prediction, are also measured, two runs each.
        exact_input: Rate the form in which the first layer reads the pixels themselves, as `quantize` writes it.
        seed: Chooses the images.
        out: Picture (.png); its numbers go beside it (.json). None takes `<stem>.sensitivity.png`.
        num_threads: 0 takes all processors.
        force: Measure even where the report is up to date.
    """

    onnx: Path
    table: Path | None = None
    data: str
    split: str | None = "train"
    num_images: int = 512
    by: str = "layer"
    metric: str = "sqnr"
    num_measured: int = 8
    exact_input: bool = True
    seed: int = 0
    out: Path | None = None
    num_threads: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.by not in _UNITS:
            problems.append(f"by is {self.by!r}, expected {' or '.join(_UNITS)}")
        if self.metric not in METRICS:
            problems.append(f"metric is {self.metric!r}, expected {', '.join(METRICS)}")
        if min(self.num_images, self.num_measured, self.seed, self.num_threads) < 0:
            problems.append(
                f"num_images {self.num_images}, num_measured {self.num_measured}, seed {self.seed} and num_threads "
                f"{self.num_threads} must not be negative"
            )
        if self.out is not None and Path(self.out).suffix != ".png":
            problems.append(f"picture {self.out} must end in .png (the numbers go beside it, in .json)")
        if problems:
            raise ConfigError("sensitivity: " + "; ".join(problems))

    def picture(self) -> Path:
        """Where the picture goes."""
        return self._beside(".sensitivity.png") if self.out is None else Path(self.out)

    def table_file(self) -> Path:
        """Where the table is."""
        return self._beside(".calib.json") if self.table is None else Path(self.table)

    def _beside(self, suffix: str) -> Path:
        return Path(self.onnx).with_name(f"{net_stem(self.onnx)}{suffix}")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitSensitivity:
    """One layer or block.

    Attributes:
        nodes: Those that go to float together.
        multiply_adds_share: Of the network's multiply-adds, 0 to 1.
        noise_share: Part of the noise on the decision's margin that vanishes when the unit stays in float.
        predicted_alone, predicted_spared: Agreement with FP32, by the noise model, with only this unit in int8 and
            with only this one in float.
        alone, spared: The same two, measured; None where they were not.
    """

    name: str
    nodes: tuple[str, ...]
    multiply_adds_share: float
    noise_share: float
    predicted_alone: float
    predicted_spared: float
    alone: Score | None = None
    spared: Score | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityReport:
    """A ranking.

    Attributes:
        exact_input: "exact", or why the image is rounded as any other tensor; see `quant.exact_input`.
        predicted_agreement: Of everything in int8, by the noise model; `int8` is the same, measured.
        units: The measured ones first, the worst on top by the metric; then the others, by prediction.
        num_reused: Scores that an interrupted run had left.
    """

    file: Path
    picture: Path
    by: str
    metric: str
    images: str
    num_images: int
    reference_top1_percent: float | None
    exact_input: str
    predicted_agreement: float
    int8: Score
    units: tuple[UnitSensitivity, ...]
    num_reused: int
    seconds: float
    skipped: bool = False


def analyze_sensitivity(options: SensitivityOptions, progress: Progress = NO_PROGRESS) -> SensitivityReport:
    """Rank the units of a network by what int8 does to them; writes a picture and its numbers.

    One pass forward and backward predicts all units (`quant.noise`); the worst are measured with ONNX Runtime, the
    rest of the network in FP32. Finished measurements are kept in `<picture>.scores.jsonl` until the report is there.

    Raises:
        ConfigError: The metric needs labels that the images do not have.
        ArtifactError, CalibrationError, DataError, GraphError: A file, a scale or the images can not be used.
    """
    start = time.perf_counter()
    manifest = read_fp32_manifest(options.onnx)
    table = read_scales(options.table_file(), options.onnx, manifest)
    picture, file = options.picture(), options.picture().with_suffix(".json")
    images = load_scoring_images(
        options.onnx,
        manifest,
        data=options.data,
        split=options.split,
        num_images=options.num_images,
        seed=options.seed,
        num_threads=options.num_threads,
        progress=progress,
    )
    if options.metric == "top1" and images.labels is None:
        raise ConfigError(f"metric top1 needs labels, {images.description} has none", remedy="take --metric sqnr")
    inputs = {
        "onnx": Path(options.onnx),
        "calibration": options.table_file(),
        "images": (images.description, images.fingerprint),
    }
    made_with = {
        "by": options.by,
        "metric": options.metric,
        "num_measured": options.num_measured,
        "exact_input": options.exact_input,
    }
    if not options.force and is_up_to_date(file, stage="sensitivity", inputs=inputs, options=made_with):
        known = read_result(SensitivityReport, file, manifest_kind="analysis")
        return replace(known, file=file, picture=picture, skipped=True)
    log = ScoreLog(picture.with_suffix(".scores.jsonl"))
    model, table, exact_input = _delivered_form(options, manifest, table)
    noise = measure_noise(model, table, images.batches(), progress=progress)
    units = _predicted(model, noise, _UNITS[options.by](model))
    int8, units = _measured(model, table, images, units, options, log, manifest.sha256, progress)
    report = SensitivityReport(
        file=file,
        picture=picture,
        by=options.by,
        metric=options.metric,
        images=images.description,
        num_images=len(images.pixels),
        reference_top1_percent=images.top1_percent,
        exact_input=exact_input,
        predicted_agreement=1 - float(noise.flips().mean()),
        int8=int8,
        units=units,
        num_reused=log.num_reused,
        seconds=time.perf_counter() - start,
    )
    _write(report, inputs, made_with)
    log.remove()
    return report


def _delivered_form(
    options: SensitivityOptions, manifest: Manifest, table: CalibrationTable
) -> tuple[onnx.ModelProto, CalibrationTable, str]:
    """The FP32 graph that `quantize` puts pairs into, the scales of its tensors, and what became of its input."""
    steps = prepare(
        read_network(options.onnx, manifest).model,
        table,
        float_precision=Precision.FP32,
        preprocess=manifest.preprocess if options.exact_input else None,
    )
    return steps.original, steps.table, steps.exact_input


def _predicted(
    model: onnx.ModelProto, noise: NoiseModel, units: dict[str, tuple[str, ...]]
) -> tuple[UnitSensitivity, ...]:
    costs = layer_cost(model)
    total = sum(cost.multiply_adds for cost in costs.values())
    everything = {source.node for source in noise.sources}
    all_noise = float(noise.variance().mean())
    found = [
        UnitSensitivity(
            name=name,
            nodes=nodes,
            multiply_adds_share=sum(costs[node].multiply_adds for node in nodes if node in costs) / total,
            noise_share=1 - float(noise.variance(nodes).mean()) / all_noise if all_noise > 0 else 0.0,
            predicted_alone=1 - float(noise.flips(everything.difference(nodes)).mean()),
            predicted_spared=1 - float(noise.flips(nodes).mean()),
        )
        for name, nodes in units.items()
    ]
    return tuple(sorted(found, key=lambda unit: -unit.noise_share))


def _measured(
    model: onnx.ModelProto,
    table: CalibrationTable,
    images: ScoringImages,
    units: tuple[UnitSensitivity, ...],
    options: SensitivityOptions,
    log: ScoreLog,
    sha256: str,
    progress: Progress,
) -> tuple[Score, tuple[UnitSensitivity, ...]]:
    """The score of everything in int8, and the units with the worst of them measured and ranked."""
    everything = set(layer_units(model))

    def score(int8_nodes: set[str]) -> Score:
        def run() -> Score:
            graph = insert_qdq(model, placement_of(model, int8_nodes), table, float_precision=Precision.FP32)
            return score_logits(logits_of_model(graph, images.batches(), options.num_threads), images)

        found = log.score(score_key(sha256, table, options.exact_input, images.fingerprint, sorted(int8_nodes)), run)
        progress.advance()
        return found

    worst = units[: options.num_measured]
    progress.start(f"measure {len(worst)} of {len(units)} {options.by}s", 1 + 2 * len(worst))
    int8 = score(everything)
    done = [replace(u, alone=score(set(u.nodes)), spared=score(everything.difference(u.nodes))) for u in worst]
    done.sort(key=lambda unit: METRICS[options.metric](unit.alone), reverse=True)
    return int8, (*done, *units[len(worst) :])


def _write(report: SensitivityReport, inputs: dict, made_with: dict) -> None:
    figure = draw_sensitivity(
        [(unit.name, 100 * unit.noise_share, 100 * unit.multiply_adds_share) for unit in report.units],
        title=f"{report.by}s, {report.num_images:,} images",
    )
    save_png(figure, report.picture)
    write_result(
        report, report.file, kind="analysis", stage="sensitivity", inputs=inputs, options=made_with, packages=_PACKAGES
    )
